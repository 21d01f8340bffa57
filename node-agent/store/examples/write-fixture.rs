//! Writes the fixture of the newest format version, and the inputs that fuzzing starts from.
//!
//! `cargo run -p moraine-store --example write-fixture FOLDER` makes `FOLDER/disk.img.gz` and
//! `FOLDER/content.txt`; with the name of a second folder it puts there the structures of the
//! newest fixture that is checked in, a folder for each target. It is not part of any build.
// The tests use more of these files than this program does.
#![allow(dead_code)]

#[path = "../tests/format/decoders.rs"]
mod decoders;
#[path = "../tests/format/driver.rs"]
mod driver;
#[path = "../tests/format/image.rs"]
mod image;
#[path = "../tests/format/model.rs"]
mod model;
#[path = "../tests/format/patches.rs"]
mod patches;
#[path = "../tests/format/script.rs"]
mod script;
#[path = "../tests/format/seeds.rs"]
mod seeds;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Inputs kept of each target.
const SEEDS_MAX: usize = 12;

fn main() -> Result<(), Error> {
    let mut folders = env::args_os().skip(1).map(PathBuf::from);
    let fixture = folders
        .next()
        .ok_or_else(|| Error::other("name the folder that the fixture goes to"))?;
    write_fixture(&fixture)?;
    folders.next().map_or(Ok(()), |folder| write_seeds(&folder))
}

fn write_fixture(folder: &Path) -> Result<(), Error> {
    let (disk, text) = script::make();
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&image::bytes_of(&disk))?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("disk.img.gz"), packed.finish()?)?;
    fs::write(folder.join("content.txt"), text)
}

fn write_seeds(folder: &Path) -> Result<(), Error> {
    let image = image::unpack(image::NEWEST);
    let targets = decoders::BODIES.iter().map(|(target, _)| *target);
    for target in targets.chain([seeds::OPEN]) {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        let seeds = seeds::seeds(target, &image);
        let step = seeds.len().div_ceil(SEEDS_MAX);
        for (nth, seed) in seeds.iter().step_by(step).enumerate() {
            fs::write(folder.join(format!("from-fixture-{nth:02}")), seed)?;
        }
    }
    Ok(())
}
