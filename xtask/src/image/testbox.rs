//! Images for tests: Debian packages with all they depend on, as one root.
//!
//! A further one is one more line in [`IMAGES`]. Packages' scripts do not run, so what they would set up (users, links
//! by update-alternatives) is missing; name programs by their full path.

use crate::image::packages::{self, MERGED, Packages};
use crate::oci::{self, Digest, ImageSpec};
use crate::proc::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A test image.
pub(super) struct TestImage {
    /// What `cargo xtask image --test` calls it.
    short: &'static str,
    /// Its full name.
    pub(super) name: &'static str,
    packages: &'static [&'static str],
}

static IMAGES: [TestImage; 1] = [TestImage {
    short: "box",
    name: "moraine.test/box:1",
    packages: &["busybox-static"],
}];

/// The test image of this short name.
pub(super) fn find(short: &str) -> Result<&'static TestImage> {
    IMAGES
        .iter()
        .find(|image| image.short == short)
        .with_context(|| {
            let known: Vec<&str> = IMAGES.iter().map(|image| image.short).collect();
            format!(
                "no test image is called {short}; there is: {}",
                known.join(", ")
            )
        })
}

/// Packs the image into the archive `out`.
pub(super) fn write(image: &TestImage, out: &Path) -> Result<Digest> {
    let packages = Packages::gather(image.packages)?;
    let scratch = packages::scratch()?;
    let root = scratch.path().join("root");
    for name in MERGED {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    packages.copy_all(&root)?;
    for name in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    link_applets(&root.join("usr/bin"))?;
    let spec = ImageSpec {
        name: image.name.to_owned(),
        ..ImageSpec::default()
    };
    oci::write_archive(&root, &spec, out)
}

/// Gives each program inside busybox, if there is one, a name to be started by.
fn link_applets(folder: &Path) -> Result<()> {
    let busybox = folder.join("busybox");
    if !busybox.is_file() {
        return Ok(());
    }
    let list = Cmd::new(&busybox, "list the programs in busybox").arg("--list");
    for name in list.read()?.lines() {
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink("busybox", link)?;
        }
    }
    Ok(())
}
