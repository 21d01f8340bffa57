//! What a program or shared library asks of the dynamic loader, read from the file and never by running it.

use anyhow::{Context, Result};
use goblin::elf::Elf;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The dynamic part of one file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Dynamic {
    /// The loader that the kernel starts; programs only.
    pub(super) interpreter: Option<PathBuf>,
    /// Names of the libraries it is linked to.
    pub(super) needed: Vec<String>,
    /// Symbol versions (`GLIBC_2.34`) it wants from each library.
    pub(super) wanted: BTreeMap<String, BTreeSet<String>>,
    /// Symbol versions that it defines.
    pub(super) defined: BTreeSet<String>,
}

/// Reads a file's content; none if it is no ELF file.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Dynamic>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let elf = Elf::parse(bytes).context("it is a damaged ELF file")?;
    let owned = |text: &str| text.to_owned();
    let named = |offset| elf.dynstrtab.get_at(offset).map(owned);
    let mut dynamic = Dynamic {
        interpreter: elf.interpreter.map(PathBuf::from),
        needed: elf.libraries.iter().copied().map(owned).collect(),
        ..Dynamic::default()
    };
    for library in elf.verneed.iter().flatten() {
        let name = named(library.vn_file).context("a version need without a library")?;
        let versions = library.iter().filter_map(|version| named(version.vna_name));
        dynamic.wanted.entry(name).or_default().extend(versions);
    }
    for definition in elf.verdef.iter().flatten() {
        // The first name is the version; those behind it are the versions that it includes.
        let first = definition.iter().next();
        dynamic
            .defined
            .extend(first.and_then(|name| named(name.vda_name)));
    }
    Ok(Some(dynamic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_test_program_is_understood() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let dynamic = read(&bytes).unwrap().unwrap();
        let interpreter = dynamic.interpreter.unwrap();
        assert!(interpreter.to_string_lossy().contains("/ld-linux-"));
        assert!(dynamic.needed.contains(&"libc.so.6".to_owned()));
        let wanted = &dynamic.wanted["libc.so.6"];
        assert!(wanted.iter().all(|name| name.starts_with("GLIBC_")));
        assert!(!wanted.is_empty());
        assert!(dynamic.defined.is_empty());
    }

    #[test]
    fn what_is_no_elf_file_is_passed_over() {
        assert_eq!(read(b"#!/bin/sh\n").unwrap(), None);
        assert!(read(b"\x7fELF and nonsense").is_err());
    }
}
