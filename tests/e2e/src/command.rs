//! kubectl and helm as programs.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// One call of a program: arguments, and what it reads.
pub struct Tool {
    program: &'static str,
    arguments: Vec<OsString>,
    input: String,
    kubeconfig: Option<OsString>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the program ended with 0.
    pub succeeded: bool,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A call of kubectl on the cluster of the environment.
pub fn kubectl<const N: usize>(arguments: [&str; N]) -> Tool {
    Tool::new("kubectl", &arguments)
}

/// A call of helm on the cluster of the environment.
pub fn helm<const N: usize>(arguments: [&str; N]) -> Tool {
    Tool::new("helm", &arguments)
}

/// The kubeconfig of the environment.
pub(crate) fn kubeconfig() -> Result<OsString> {
    std::env::var_os("KUBECONFIG").context(
        "KUBECONFIG isn't set: these tests need a cluster. `cargo xtask test` brings one up; by hand: \
         `cargo xtask cluster up` and `eval \"$(cargo xtask cluster env)\"`",
    )
}

impl Tool {
    fn new(program: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self {
            program,
            arguments,
            input: String::new(),
            kubeconfig: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// What the program reads as its standard input; give it `-f -` as arguments too.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = text.into();
        self
    }

    /// Another identity than the environment's.
    #[must_use]
    pub fn kubeconfig(mut self, file: &Path) -> Self {
        self.kubeconfig = Some(file.into());
        self
    }

    /// Runs it, whatever comes of it. Fails only if the program can't be run.
    pub fn outcome(self) -> Result<Outcome> {
        let kubeconfig = match self.kubeconfig {
            Some(file) => file,
            None => kubeconfig()?,
        };
        let mut child = Command::new(self.program)
            .args(&self.arguments)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!(
                    "{} isn't in PATH: `cargo xtask cluster env` prints a PATH with it",
                    self.program
                )
            })?;
        // The programs read all of their input before they write much, so that neither waits for ever.
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        let written = stdin.write_all(self.input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let outcome = Outcome {
            succeeded: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        // A program that refuses its arguments doesn't read on.
        if outcome.succeeded {
            written.with_context(|| format!("{} didn't read its input", self.program))?;
        }
        Ok(outcome)
    }

    /// Runs it and gives what it printed; fails, with what it complained about, if it failed.
    pub fn run(self) -> Result<String> {
        let arguments: Vec<_> = self.arguments.iter().map(|a| a.to_string_lossy()).collect();
        let said = format!("{} {}", self.program, arguments.join(" "));
        let outcome = self.outcome()?;
        if !outcome.succeeded {
            bail!("`{said}` failed: {}{}", outcome.stderr, outcome.stdout);
        }
        Ok(outcome.stdout)
    }

    /// Runs it with `-o json` and gives what it printed.
    pub fn json(self) -> Result<Value> {
        let text = self.arg("-o").arg("json").run()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }
}
