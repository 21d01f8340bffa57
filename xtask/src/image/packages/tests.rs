//! Names, paths and links; downloading is tried by making the image.

use super::*;

#[test]
fn lines_of_apt_are_read() {
    let package = |name: &str, version: &str, architecture: &str| Package {
        name: name.into(),
        version: version.into(),
        architecture: architecture.into(),
    };
    let lines = [
        (
            "Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []",
            package("libc6", "2.36-9+deb12u14", "amd64"),
        ),
        (
            "Inst zlib1g (1:1.2.13 Debian:12.15/oldstable, Debian-Security:12/x [amd64]) [a:amd64 ]",
            package("zlib1g", "1:1.2.13", "amd64"),
        ),
        (
            "Inst media-types (10.0.0 Debian:12.15/oldstable [all])",
            package("media-types", "10.0.0", "all"),
        ),
    ];
    for (line, expected) in lines {
        assert_eq!(parse(line), Some(expected), "{line}");
    }
    assert_eq!(parse("Inst libc6"), None);
}

#[test]
fn epochs_are_escaped_in_file_names() {
    let package = parse("Inst zlib1g (1:1.2.13 Debian [amd64])").unwrap();
    assert_eq!(package.file(), "zlib1g_1%3a1.2.13_amd64.deb");
}

#[test]
fn paths_are_merged_under_usr() {
    let cases = [
        ("/lib64/ld.so", Some("usr/lib64/ld.so")),
        ("./bin/mount", Some("usr/bin/mount")),
        ("usr/lib/a/../b", Some("usr/lib/b")),
        ("/etc/passwd", Some("etc/passwd")),
        ("library", Some("library")),
        ("usr/../../etc", None),
    ];
    for (path, expected) in cases {
        assert_eq!(
            merged(Path::new(path)).as_deref(),
            expected.map(Path::new),
            "{path}"
        );
    }
}

/// Two packages as dpkg-deb would unpack them, one of before the merge and one of after it.
fn unpacked() -> Packages {
    let folder = TempDir::new().unwrap();
    let put = |path: &str| super::super::put(&folder.path().join(path), path).unwrap();
    put("0/lib/libfoo.so.1.2");
    put("0/usr/share/doc/gcc-base/copyright");
    put("1/usr/bin/tool");
    for (target, link) in [
        ("libfoo.so.1.2", "0/lib/libfoo.so.1"),
        ("/lib/libfoo.so.1", "0/lib/ld.so"),
        ("gcc-base", "0/usr/share/doc/foo"),
        ("loop", "1/usr/bin/loop"),
        ("usr/bin", "1/bin"),
    ] {
        std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
    }
    let named = |name: &str| Package {
        name: name.into(),
        version: "1".into(),
        architecture: "all".into(),
    };
    let mut packages = Packages {
        list: vec![named("foo"), named("tool")],
        entries: BTreeMap::new(),
        unpacked: folder,
    };
    for at in 0..2 {
        let top = packages.unpacked.path().join(at.to_string());
        packages.index(at, &top, Path::new("")).unwrap();
    }
    packages
}

#[test]
fn links_are_followed_within_the_packages() {
    let packages = unpacked();
    for (path, content) in [
        ("usr/lib/libfoo.so.1", "0/lib/libfoo.so.1.2"),
        ("/lib/ld.so", "0/lib/libfoo.so.1.2"),
        (
            "usr/share/doc/foo/copyright",
            "0/usr/share/doc/gcc-base/copyright",
        ),
        ("/bin/tool", "1/usr/bin/tool"),
    ] {
        let held = packages.find(path).unwrap();
        assert_eq!(fs::read_to_string(held.source).unwrap(), content, "{path}");
    }
    assert_eq!(packages.find("/bin/tool").unwrap().package.name, "tool");
    for path in ["usr/bin/loop", "usr/bin", "usr/bin/none", "/../bin/tool"] {
        assert!(packages.find(path).is_none(), "{path}");
    }
}

#[test]
fn all_packages_make_one_root() {
    let packages = unpacked();
    let root = TempDir::new().unwrap();
    packages.copy_all(root.path()).unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    assert_eq!(read("usr/lib/libfoo.so.1"), "0/lib/libfoo.so.1.2");
    assert_eq!(read("usr/bin/tool"), "1/usr/bin/tool");
    assert!(!root.path().join("lib").exists());
}
