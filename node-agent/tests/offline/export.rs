//! `store export`: the image is what the volume or snapshot was, byte for byte.

use crate::rig::*;
use moraine_model::*;
use moraine_store::Control;
use moraine_store::format::SegmentState;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn export(rig: &Rig, number: u128, image: &Path, more: &[&str]) -> Run {
    let volume = volume(number).to_string();
    let mut arguments = vec![volume.as_str(), "--output", image.to_str().unwrap()];
    arguments.extend(more);
    rig.store("export", &arguments)
}

/// The image must be these blocks in `size_bytes` of zeros.
fn check_image(image: &Path, blocks: &Blocks, size_bytes: u64) {
    let bytes = std::fs::read(image).unwrap();
    assert_eq!(bytes.len() as u64, size_bytes);
    for (nth, found) in (0_u32..).zip(bytes.chunks(BLOCK_BYTES)) {
        let per_chunk = u32::from(CHUNK_BLOCKS);
        let block = u16::try_from(nth % per_chunk).unwrap();
        let zeros = [0; BLOCK_BYTES];
        let wanted = blocks.get(&(nth / per_chunk, block));
        let wanted = wanted.map_or(&zeros[..], Vec::as_slice);
        assert!(found == wanted, "block {nth} of the image is wrong");
    }
    let taken = std::fs::metadata(image).unwrap().blocks() * 512;
    assert!(
        taken <= (blocks.len() as u64 + 64) * BLOCK_BYTES as u64,
        "{taken} is not sparse"
    );
}

#[test]
fn the_head_of_a_volume_is_exported_from_all_its_buckets() {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    for nth in 0..16_u16 {
        rig.write(
            (1, u32::from(nth % 4) * 2 / 3),
            (nth / 4 * 14, 14),
            0,
            &mut blocks,
        );
        rig.write((2, 0), (nth, 1), 0, &mut Blocks::new());
    }
    rig.trim((1, 1), (3, 30), 1, &mut blocks);
    rig.write((1, 1), (1020, 4), 1, &mut blocks);
    rig.write((1, 7), (0, 1), 1, &mut blocks);
    rig.close();
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    check_image(&image, &blocks, 8 * CHUNK_BYTES);
    let number = format!("4 chunks with {} blocks", blocks.len());
    assert!(run.says(&[&number, "buckets 0, 1"]), "{run:?}");
    assert!(run.says(&["first 8 chunks 4 are not on this disk", "other disks"]));
    assert_eq!(rig.files(), ["image"]);
}

#[test]
fn a_snapshot_is_exported_as_it_was() {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    rig.write((1, 0), (0, 14), 0, &mut blocks);
    rig.write((1, 1), (0, 14), 1, &mut blocks);
    rig.trim((1, 0), (4, 4), 1, &mut blocks);
    let snapshot = blocks.clone();
    rig.write((1, 0), (2, 14), 2, &mut blocks);
    rig.trim((1, 1), (0, 10), 2, &mut blocks);
    rig.control(1, Control::DeleteSnapshot { cut: Cut(0) });
    rig.close();
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &["--cut", "1"]);
    assert_eq!(run.code, 0, "{run:?}");
    check_image(&image, &snapshot, 2 * CHUNK_BYTES);
    let head = rig.file("head");
    export(&rig, 1, &head, &[]);
    check_image(&head, &blocks, 2 * CHUNK_BYTES);
    let gone = export(&rig, 1, &rig.file("gone"), &["--cut", "0"]);
    assert!(
        gone.code == 2 && gone.says(&["has no snapshot 0"]),
        "{gone:?}"
    );
    assert_eq!(rig.files(), ["head", "image"]);
}

#[test]
fn a_clone_is_exported_through_its_parents() {
    let mut rig = Rig::new();
    let mut blocks = Blocks::new();
    rig.write((1, 0), (0, 14), 0, &mut blocks);
    rig.write((1, 3), (5, 5), 0, &mut blocks);
    let mut clone = blocks.clone();
    rig.control(
        1,
        Control::AddReference {
            cut: Cut(0),
            child: volume(2),
        },
    );
    rig.write((1, 0), (0, 14), 1, &mut blocks);
    rig.write((2, 0), (10, 3), 0, &mut clone);
    rig.trim((2, 3), (6, 1), 0, &mut clone);
    // The clone of the clone has written nothing.
    rig.control(
        2,
        Control::AddReference {
            cut: Cut(0),
            child: volume(3),
        },
    );
    let grandchild = clone.clone();
    rig.write((2, 0), (0, 2), 1, &mut clone);
    rig.close();
    for (number, blocks) in [(1, blocks), (2, clone), (3, grandchild)] {
        let image = rig.file(&format!("image-{number}"));
        let run = export(&rig, number, &image, &[]);
        assert_eq!(run.code, 0, "{run:?}");
        check_image(&image, &blocks, 4 * CHUNK_BYTES);
    }
}

#[test]
fn a_damaged_block_is_named_and_left_out_only_if_asked() {
    let (rig, mut blocks) = Rig::filled();
    let head = rig.of_state(1, SegmentState::Closed)[0];
    let victims = [rig.data(&head)[1], rig.data(&head)[9]];
    for victim in &victims {
        rig.flip(victim.location);
        blocks.remove(&(victim.place.chunk.get(), victim.block));
    }
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &[]);
    assert_eq!(run.code, 1);
    assert!(
        run.says(&["nothing was exported", "--skip-damaged"]),
        "{run:?}"
    );
    assert_eq!(rig.files(), [""; 0]);
    let run = export(&rig, 1, &image, &["--skip-damaged"]);
    assert_eq!(run.code, 1);
    for victim in &victims {
        let chunk = format!("chunk {},", victim.place.chunk.get());
        let block = format!("block {} of cut 0,", victim.block);
        assert!(run.says(&["damage:", &chunk, &block]), "{run:?}");
    }
    check_image(&image, &blocks, 4 * CHUNK_BYTES);
    // The damage of one volume is none of another's.
    let run = export(&rig, 2, &rig.file("other"), &[]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn of_a_disk_with_a_refused_shard_the_others_are_exported_if_asked() {
    let (rig, mut blocks) = Rig::filled();
    let broken = rig.break_index();
    // The batches make up for the index.
    let whole = rig.file("whole");
    let run = export(&rig, 1, &whole, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    check_image(&whole, &blocks, 4 * CHUNK_BYTES);
    std::fs::remove_file(whole).unwrap();
    rig.break_batches(&broken);
    blocks.retain(|(chunk, _), _| chunk % SHARDS == 1);
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &[]);
    assert!(
        run.code == 1 && run.says(&["shard 0 of 2", "0 modulo 2"]),
        "{run:?}"
    );
    assert_eq!(rig.files(), [""; 0]);
    let run = export(&rig, 1, &image, &["--skip-damaged"]);
    assert_eq!(run.code, 1);
    check_image(&image, &blocks, 4 * CHUNK_BYTES);
}

#[test]
fn a_disk_without_one_segments_head_exports_nothing() {
    let (rig, _) = Rig::filled();
    let lost = rig.of_state(0, SegmentState::Closed)[0].segment;
    let first = rig.superblock.layout.first_block(lost);
    rig.flip(first);
    rig.flip(first + 2);
    let run = export(&rig, 1, &rig.file("image"), &["--skip-damaged"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.says(&[&format!("segment {lost} is damaged"), "head"]));
    assert_eq!(rig.files(), [""; 0]);
}

#[test]
fn one_bucket_is_taken_alone() {
    let (rig, mut blocks) = Rig::filled();
    blocks.retain(|(chunk, _), _| chunk % SHARDS == 0);
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &["--bucket", "0"]);
    assert_eq!(run.code, 0, "{run:?}");
    check_image(&image, &blocks, 3 * CHUNK_BYTES);
    let run = export(&rig, 1, &rig.file("none"), &["--bucket", "9"]);
    assert!(run.code == 2 && run.says(&["nothing on this disk in these buckets"]));
}

#[test]
fn the_size_that_is_asked_for_is_the_images_unless_data_would_be_lost() {
    let (rig, blocks) = Rig::filled();
    let image = rig.file("image");
    let run = export(&rig, 1, &image, &["--size", "40960000"]);
    assert_eq!(run.code, 0, "{run:?}");
    check_image(&image, &blocks, 40_960_000);
    let run = export(&rig, 1, &rig.file("short"), &["--size", "12800000"]);
    assert!(
        run.code == 2 && run.says(&["beyond the size of 12800000"]),
        "{run:?}"
    );
    assert_eq!(rig.files(), ["image"]);
}

#[test]
fn an_image_is_replaced_only_if_asked_and_the_disk_never() {
    let (rig, blocks) = Rig::filled();
    let image = rig.file("image");
    std::fs::write(&image, "precious").unwrap();
    let run = export(&rig, 1, &image, &[]);
    assert!(
        run.code == 2 && run.says(&["exists already", "--force"]),
        "{run:?}"
    );
    assert_eq!(std::fs::read(&image).unwrap(), b"precious");
    let run = export(&rig, 1, &rig.path, &["--force"]);
    assert!(
        run.code == 2 && run.says(&["is the disk itself"]),
        "{run:?}"
    );
    let run = export(&rig, 1, &image, &["--force"]);
    assert_eq!(run.code, 0, "{run:?}");
    check_image(&image, &blocks, 4 * CHUNK_BYTES);
}

#[test]
fn a_volume_that_is_not_there_or_deleted_is_said_so() {
    let mut rig = Rig::new();
    rig.write((1, 0), (0, 4), 2, &mut Blocks::new());
    rig.control(1, Control::DeleteVolume { cut: Cut(3) });
    rig.close();
    let run = export(&rig, 9, &rig.file("image"), &[]);
    assert!(
        run.code == 2 && run.says(&["has nothing on this disk", "dump"]),
        "{run:?}"
    );
    let run = export(&rig, 1, &rig.file("image"), &[]);
    assert!(run.code == 2 && run.says(&["is deleted"]), "{run:?}");
    assert_eq!(rig.files(), [""; 0]);
}
