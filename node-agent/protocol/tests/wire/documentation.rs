//! The tables in `docs/wire.md` that would otherwise be forgotten.

use moraine_protocol::{HANDSHAKE_VERSION, Kind, MAGIC, VERSION};

const TABLES: &str = include_str!("../../../../docs/wire.md");

#[test]
fn every_kind_stands_in_the_documentation_with_its_size() {
    let found: Vec<[&str; 3]> = TABLES
        .lines()
        .filter(|line| line.starts_with("| `0x"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            [cells[1], cells[2], cells[4]]
        })
        .collect();
    let row = |kind: Kind| {
        [
            format!("`{:#04x}`", kind.number()),
            kind.to_string(),
            kind.body_bytes_max().to_string(),
        ]
    };
    assert_eq!(found, Kind::ALL.map(row));
}

#[test]
fn the_documentation_is_of_the_newest_version() {
    let title = format!("# The wire of the data plane, version {VERSION}\n");
    assert!(TABLES.starts_with(&title));
    let magic = String::from_utf8(MAGIC.to_vec()).unwrap();
    assert!(TABLES.contains(&format!("| 0 | 4 | magic `{magic}` |")));
    let version = format!("| 4 | 2 | version, {VERSION}; in the handshake {HANDSHAKE_VERSION}");
    assert!(TABLES.contains(&version));
}
