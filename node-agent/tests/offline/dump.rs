//! `store dump`: shows what is on the disk, to people and to programs.

use crate::rig::*;
use moraine_model::*;
use moraine_store::Control;
use moraine_store::format::SegmentState;
use serde_json::Value;

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap()
}

/// Volume 1 with cuts 0 to 3, of which 1 is deleted; volume 3 is a clone of cut 2 that holds nothing;
/// volume 4 is deleted.
fn family() -> Rig {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    for cut in 0..4 {
        rig.write((1, 0), (3, 4), cut, &mut blocks);
        rig.write((1, 5), (3, 4), cut, &mut blocks);
    }
    rig.control(1, Control::DeleteSnapshot { cut: Cut(1) });
    let child = volume(3);
    rig.control(1, Control::AddReference { cut: Cut(2), child });
    rig.write((4, 0), (0, 1), 7, &mut blocks);
    rig.control(4, Control::DeleteVolume { cut: Cut(7) });
    rig.close();
    rig
}

#[test]
fn volumes_are_listed_with_what_is_kept_of_them() {
    let rig = family();
    let run = rig.store("dump", &["--json"]);
    assert_eq!(run.code, 0);
    let dump = json(&run);
    assert_eq!(dump["superblock"]["cluster"], format!("{:032x}", 0xc1));
    assert_eq!(dump["superblock"]["formatted_at"], "2023-11-14T22:13:20Z");
    assert_eq!(dump["superblock"]["shards"], 2);
    let named = |number: u128| {
        let mut volumes = dump["volumes"].as_array().unwrap().iter();
        let found = volumes.find(|row| row["volume"] == volume(number).to_string());
        found.unwrap_or_else(|| panic!("volume {number} is missing: {dump}"))
    };
    let first = named(1);
    assert_eq!(first["buckets"], serde_json::json!([0, 1]));
    assert_eq!((&first["cut"], &first["chunks"]), (&3.into(), &2.into()));
    assert_eq!(first["snapshots"], serde_json::json!([[0, 0], [2, 2]]));
    // Cut 1 was collected: three versions of four blocks in two chunks.
    assert_eq!(first["used_bytes"], 3 * 4 * 2 * 4096);
    let clone = volume(3).to_string();
    assert_eq!(first["clones"], serde_json::json!([[clone, 2]]));
    let clone = named(3);
    assert_eq!(clone["parent"], serde_json::json!([first["volume"], 2]));
    assert_eq!(clone["used_bytes"], 0);
    assert_eq!(named(4)["deleted_at"], 7);
    let text = rig.store("dump", &[]);
    let id = volume(1).to_string();
    assert!(
        text.says(&[&id, " 0,2 ", "96.0 KiB", "is read by"]),
        "{}",
        text.out
    );
    assert!(text.says(&["formatted", "2023-11-14T22:13:20Z"]));
}

#[test]
fn segments_and_their_entries_are_listed() {
    let (rig, _) = Rig::filled();
    let run = rig.store("dump", &["--segments", "--json"]);
    let dump = json(&run);
    let rows = dump["segments"].as_array().unwrap();
    let closed = rig.of_state(0, SegmentState::Closed)[0];
    let row = rows
        .iter()
        .find(|row| row["segment"] == closed.segment)
        .unwrap();
    assert_eq!(row["state"], "closed");
    let blocks = rig.data(&closed).len();
    assert_eq!(row["live_blocks"], blocks);
    assert_eq!(row["entries"], rig.extent(&closed).entries().len());
    assert_eq!(row["lsn_min"], 1);
    assert!(rows.iter().all(|row| row["state"] != "free"));

    let number = closed.segment.to_string();
    let run = rig.store("dump", &["--extent", &number, "--json"]);
    let dump = json(&run);
    let entries = dump["entries"].as_array().unwrap();
    let first = &entries[0];
    assert_eq!((&first["kind"], &first["lsn"]), (&"data".into(), &1.into()));
    assert_eq!(
        (&first["blocks"], &first["live_blocks"]),
        (&14.into(), &14.into())
    );
    assert_eq!(first["position"], 5);
    let text = rig.store("dump", &["--extent", &number]);
    assert!(
        text.says(&["data", &volume(1).to_string(), "0-13", "1.0.1"]),
        "{}",
        text.out
    );
    let beyond = rig.store("dump", &["--extent", "32"]);
    assert!(beyond.code == 2 && beyond.says(&["no segment 32", "0 to 31"]));
}

#[test]
fn records_are_shown_in_words() {
    let rig = family();
    let log = rig.of_state(0, SegmentState::Log);
    let texts = log.iter().map(|head| {
        let number = head.segment.to_string();
        rig.store("dump", &["--extent", &number]).out
    });
    let text: String = texts.collect();
    assert!(text.contains("bucket 0: snapshot 1 deleted"), "{text}");
    assert!(text.contains("volume deleted"), "{text}");
}

#[test]
fn what_can_be_read_is_shown_beside_what_can_not() {
    let (rig, _) = Rig::filled();
    let broken = rig.break_index();
    // Its batches could make up for the index.
    rig.break_batches(&broken);
    let run = rig.store("dump", &["--segments", "--json"]);
    assert_eq!(run.code, 1);
    let dump = json(&run);
    let first = &dump["volumes"][0];
    assert_eq!(
        (&first["buckets"], &first["chunks"]),
        (&serde_json::json!([1]), &2.into())
    );
    let problems = dump["problems"].to_string();
    assert!(problems.contains("shard 0") && problems.contains("checksum of the index"));
    let rows = dump["segments"].as_array().unwrap();
    let segments = |shard: u32| rows.iter().filter(move |row| row["shard"] == shard);
    assert!(segments(0).any(|row| row["live_blocks"].is_null() && row["entries"].is_u64()));
    assert!(segments(1).all(|row| row["live_blocks"].is_u64()));
}
