//! Running other programs: quiet when all is well, and with the reason when not.
//!
//! [`Cmd`] is a thin cover of [`std::process::Command`] that knows its purpose (for the error), keeps long output in
//! a log file, and ends its child's whole process group when the user presses Ctrl-C or a time limit passes. It is
//! not a shell: no pipes, no globbing.

use crate::interrupt;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of a failed program's output that the error repeats.
const TAIL_LINES: usize = 15;
/// How long a child may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A program to run, and what for.
pub(crate) struct Cmd {
    command: Command,
    program: String,
    purpose: String,
    input: Option<Vec<u8>>,
    limit: Option<Duration>,
}

impl Cmd {
    /// `purpose` completes the sentence "could not ...".
    pub(crate) fn new(program: impl AsRef<OsStr>, purpose: impl Into<String>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        Self {
            command,
            program: program.to_string_lossy().into_owned(),
            purpose: purpose.into(),
            input: None,
            limit: None,
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder to run in.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives the program this text as standard input.
    pub(crate) fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Ends the program if it takes longer.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs with the user's own terminal, for programs the user talks to or whose output is the result.
    pub(crate) fn show(mut self) -> Result<ExitStatus> {
        let child = self.spawn()?;
        self.wait(child, None)
    }

    /// Becomes the program, so that its terminal, signals and exit code are the user's. Returns only the error.
    pub(crate) fn replace_us(mut self) -> anyhow::Error {
        let error = self.command.exec();
        let what = format!("could not {}: starting {}", self.purpose, self.program);
        anyhow::Error::new(error).context(what)
    }

    /// Runs quietly and returns what it printed, without the last line end.
    pub(crate) fn read(self) -> Result<String> {
        self.read_with(None)
    }

    /// As [`Cmd::read`], counting seconds on `step`.
    pub(crate) fn read_on(self, step: &mut Step) -> Result<String> {
        self.read_with(Some(step))
    }

    fn read_with(self, step: Option<&mut Step>) -> Result<String> {
        // Files without a name: nothing is left of them even if we are killed.
        let scratch = || tempfile::tempfile().context("making a scratch file");
        let (mut output, error) = (scratch()?, scratch()?);
        self.run_into(&output, &error, step)?;
        let mut text = Vec::new();
        output.rewind()?;
        output
            .read_to_end(&mut text)
            .context("reading a program's output")?;
        Ok(String::from_utf8_lossy(&text)
            .trim_end_matches('\n')
            .to_owned())
    }

    /// Runs quietly for its effect.
    pub(crate) fn run(self) -> Result<()> {
        self.read().map(drop)
    }

    /// Runs quietly with all output in `log`, counting seconds on `step`.
    pub(crate) fn run_logged(self, log: &Path, step: &mut Step) -> Result<()> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        // Readable too: an error repeats its end.
        let output = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(log)
            .with_context(|| format!("creating {}", log.display()))?;
        let ended = self.run_into(&output, &output, Some(step));
        if interrupt::check().is_err() {
            // Who asked to stop doesn't want to read on.
            return ended;
        }
        ended.with_context(|| format!("the whole output is in {}", log.display()))
    }

    fn run_into(mut self, output: &File, error: &File, step: Option<&mut Step>) -> Result<()> {
        self.command
            .stdout(output.try_clone()?)
            .stderr(error.try_clone()?);
        self.command.process_group(0);
        if self.input.is_none() {
            self.command.stdin(Stdio::null());
        }
        let (program, purpose) = (self.program.clone(), self.purpose.clone());
        let child = self.spawn()?;
        let status = self.wait(child, step)?;
        if !status.success() {
            bail!(
                "could not {purpose}: {program} ended with {status}{}",
                tail(error)
            );
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<Child> {
        interrupt::check()?;
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("could not {}: starting {}", self.purpose, self.program))?;
        if let (Some(input), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            // Fed from a thread: a child that prints before it reads all must not block us.
            thread::spawn(move || pipe.write_all(&input));
        }
        Ok(child)
    }

    fn wait(&self, mut child: Child, mut step: Option<&mut Step>) -> Result<ExitStatus> {
        let end = self.limit.map(|limit| Instant::now() + limit);
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if let Err(stop) = interrupt::check() {
                end_group(&mut child);
                return Err(stop);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                end_group(&mut child);
                bail!(
                    "could not {}: {} took too long and was ended",
                    self.purpose,
                    self.program
                );
            }
            if let Some(step) = step.as_deref_mut() {
                step.tick();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// Where programs are looked for. Debian's `su` leaves out the folders of those that only root uses.
fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    // Only a folder with a colon in its name can't be joined, and none of these came from elsewhere.
    env::join_paths(folders).unwrap_or(path)
}

/// Ends a child and all in its process group, politely first.
fn end_group(child: &mut Child) {
    let group = pid_of(child);
    // A child that shares our group (`show`) has none of its own; it got the terminal's signal, but not one that was
    // sent to us alone.
    if kill_process_group(group, Signal::TERM).is_err() {
        kill_process(group, Signal::TERM).ok();
    }
    let end = Instant::now() + GRACE;
    while Instant::now() < end {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    kill_process_group(group, Signal::KILL).ok();
    child.kill().ok();
    child.wait().ok();
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The end of a failed program's output, for the error text.
fn tail(mut output: &File) -> String {
    let mut text = Vec::new();
    // What cannot be read is only missed in an error's text.
    output
        .rewind()
        .and_then(|()| output.read_to_end(&mut text))
        .ok();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    if lines.is_empty() {
        String::new()
    } else {
        let last = lines[start..].join("\n    ");
        format!("; its last words:\n    {last}")
    }
}
