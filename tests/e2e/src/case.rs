//! A test's own corner of the cluster.

use crate::kubectl;
use anyhow::Result;
use serde_json::Value;
use std::cell::RefCell;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Names for the objects of one test. When the test ends, its objects go; if it failed, what the
/// cluster looked like is left in the folder `MORAINE_E2E_LOGS`.
pub struct Case {
    test: &'static str,
    tag: String,
    made: RefCell<Vec<Made>>,
}

/// Cases of this process so far.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// An object to be deleted when the test ends.
struct Made {
    /// As kubectl takes it.
    kind: String,
    name: String,
    /// Empty for what lies in no namespace.
    namespace: String,
}

impl Case {
    /// The corner of the test of this name.
    pub fn new(test: &'static str) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Two processes differ in their number, two runs of one test in the time, and two tests of
        // one process in the count.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let time = now.as_secs() & 0xff_ffff;
        let tag = format!("e2e-{:x}-{time:x}-{count:x}", std::process::id());
        Self {
            test,
            tag,
            made: RefCell::default(),
        }
    }

    /// A name that no other test uses, such as `e2e-1f-c0ffee-pool`.
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.tag)
    }

    /// A 128-bit id that no other test uses.
    pub fn id(&self, number: u64) -> String {
        let digits: String = self.tag.chars().filter(char::is_ascii_hexdigit).collect();
        format!("{digits:0>24}{number:08x}")
    }

    /// Makes an object, to be deleted when the test ends.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let made = kubectl(["create", "-f", "-"])
            .input(object.to_string())
            .json()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = text(&made["apiVersion"]);
        let kind = match group.split_once('/') {
            Some((group, version)) => format!("{}.{version}.{group}", text(&made["kind"])),
            None => text(&made["kind"]),
        };
        self.made.borrow_mut().push(Made {
            kind,
            name: text(&made["metadata"]["name"]),
            namespace: text(&made["metadata"]["namespace"]),
        });
        Ok(made)
    }

    /// An object that a program makes for what the test made, and that stays when that goes: it is to
    /// go after what the test makes from now on.
    pub fn clear_later(&self, kind: &str, name: &str) {
        self.made.borrow_mut().push(Made {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: String::new(),
        });
    }

    fn leave_a_log(&self) {
        let Some(folder) = std::env::var_os("MORAINE_E2E_LOGS") else {
            return;
        };
        let mut log = String::new();
        for what in [
            ["get", "moraine", "-o", "yaml"],
            ["get", "pods,leases", "-A", "-owide"],
            ["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ] {
            let said = kubectl(what)
                .run()
                .unwrap_or_else(|error| format!("{error:#}"));
            // Writing to a text can't fail.
            let _ = writeln!(log, "# kubectl {}\n{said}", what.join(" "));
        }
        let file = Path::new(&folder).join(format!("{}.txt", self.test));
        let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, log));
        match kept {
            Ok(()) => eprintln!("what the cluster looked like: {}", file.display()),
            Err(error) => eprintln!("no log of the cluster could be kept: {error}"),
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.leave_a_log();
        }
        for Made {
            kind,
            name,
            namespace,
        } in self.made.borrow().iter().rev()
        {
            let namespace = format!("--namespace={namespace}");
            let options = [
                "delete",
                kind,
                name,
                &namespace,
                "--ignore-not-found",
                "--wait=false",
            ];
            if let Err(error) = kubectl(options).run() {
                eprintln!("{kind} {name} is left behind: {error:#}");
            }
        }
    }
}
