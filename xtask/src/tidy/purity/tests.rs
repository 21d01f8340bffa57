//! What a core may not name is found however it is written, and what it may is left alone.

use crate::tidy::tree::Tree;

fn lines_in(path: &str, text: &str) -> Vec<usize> {
    let found = super::check(&Tree::of(&[(path, text)]));
    found.iter().map(|finding| finding.line).collect()
}

fn lines(text: &str) -> Vec<usize> {
    lines_in("node-agent/store/src/shard.rs", text)
}

#[test]
fn clocks_threads_and_sockets_are_found() {
    assert_eq!(lines("use std::time::Instant;\n"), [1]);
    assert_eq!(lines("fn a() {\n    std::thread::yield_now();\n}\n"), [2]);
    assert_eq!(
        lines("use std::{\n    net::TcpStream,\n    time::{Duration, SystemTime},\n};\n"),
        [2, 3]
    );
    assert_eq!(lines("fn a(at: ::std::time::SystemTime) {}\n"), [1]);
    assert_eq!(
        lines("use tokio::sync::mpsc;\nfn a() -> u8 { rand::random() }\n"),
        [1, 2]
    );
    assert_eq!(lines("use getrandom;\nextern crate rand;\n"), [1, 2]);
}

#[test]
fn modules_cannot_be_imported_to_hide_their_items() {
    assert_eq!(
        lines("use std::time;\nuse std::time as t;\nuse std::time::*;\nuse std::time::{self};\n"),
        [1, 2, 3, 4]
    );
    assert_eq!(lines("use std as s;\nextern crate std as s;\n"), [1, 2]);
    assert_eq!(lines("use std::time::Instant as Now;\n"), [1]);
}

#[test]
fn macros_are_looked_into() {
    assert_eq!(
        lines("fn a() {\n    println!(\"{:?}\", (1, std::time::Instant::now()));\n}\n"),
        [2]
    );
    assert_eq!(
        lines("fn a() { assert!(x.len() == 1 && std::thread::panicking()) }\n"),
        [1]
    );
}

#[test]
fn maps_need_a_fixed_order() {
    assert_eq!(
        lines("struct A {\n    b: HashMap<u8, u8>,\n    c: HashSet<u8>,\n}\n"),
        [2, 3]
    );
    assert_eq!(lines("fn a() { let b = HashMap::new(); }\n"), [1]);
    assert_eq!(
        lines("fn a() { let b = std::collections::HashSet::with_capacity(1); }\n"),
        [1]
    );
    assert!(
        lines("type A = HashMap<u8, u8, Fixed>;\nfn a() -> A { HashMap::default() }\n").is_empty()
    );
}

#[test]
fn harmless_names_are_left_alone() {
    let text = "use std::collections::{BTreeMap, HashMap};\nuse std::time::Duration;\nuse crate::time::Instant;\n\
                fn a(rand: u64) -> u64 { rand + model::rand::next() }\n";
    assert_eq!(lines(text), Vec::<usize>::new());
}

#[test]
fn tests_shells_and_other_crates_are_free() {
    let text = "use std::time::Instant;\n";
    assert_eq!(
        lines(&format!(
            "#[cfg(test)]\nmod tests {{\n    {text}}}\n#[cfg(test)]\n{text}"
        )),
        Vec::<usize>::new()
    );
    assert_eq!(lines(&format!("#[cfg(not(test))]\n{text}")), [2]);
    for path in [
        "node-agent/store/src/disk/threads.rs",
        "node-agent/store/src/shard/tests.rs",
        "node-agent/store/tests/crash.rs",
        "csi-driver/engine/src/shell.rs",
        "csi-driver/engine/src/shell/paths.rs",
        "operator/src/lease.rs",
    ] {
        assert_eq!(lines_in(path, text), Vec::<usize>::new(), "{path}");
    }
    assert_eq!(lines_in("csi-driver/engine/src/shells.rs", text), [1]);
    assert_eq!(lines_in("operator/placement/src/lib.rs", text), [1]);
}
