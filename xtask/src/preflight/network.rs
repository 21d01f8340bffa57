//! Can what is missing be fetched? A name look-up and a connection, nothing more.
//!
//! With an HTTP proxy in between a direct connection proves nothing, so then only the proxy is tried.

use crate::interrupt;
use crate::proc::Cmd;
use anyhow::{Context, Result, bail};
use std::env;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(15);

/// Fails with one sentence if Go modules cannot be fetched.
pub(crate) fn go_proxy_reachable(go: &Path) -> Result<()> {
    let proxies = Cmd::new(go, "ask Go for its module proxy")
        .args(["env", "GOPROXY"])
        .env("GOTOOLCHAIN", "local")
        .read()?;
    let first = proxies.split([',', '|']).next().unwrap_or_default();
    if first == "off" {
        bail!(
            "Go modules must be fetched, and GOPROXY=off forbids it: unset it (go env -u GOPROXY)"
        );
    }
    reachable(first, "Go modules", "the Go module proxy")
}

/// Fails with one sentence if Debian packages cannot be fetched.
pub(crate) fn package_mirror_reachable() -> Result<()> {
    let dumped = Cmd::new("apt-config", "read apt's settings")
        .arg("dump")
        .read()?;
    if dumped.lines().any(is_apt_proxy) {
        return Ok(());
    }
    let listed = Cmd::new("apt-get", "list the package mirrors")
        .args(["--print-uris", "update"])
        .read()?;
    let Some(mirror) = listed.split('\'').nth(1) else {
        bail!("apt has no package mirror: add one to /etc/apt/sources.list");
    };
    reachable(mirror, "Debian packages", "the package mirror")
}

fn is_apt_proxy(line: &str) -> bool {
    let proxy = line
        .strip_prefix("Acquire::http::Proxy \"")
        .or_else(|| line.strip_prefix("Acquire::https::Proxy \""));
    proxy.is_some_and(|value| !value.starts_with("\";"))
}

fn reachable(url: &str, what: &str, role: &str) -> Result<()> {
    let proxy = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let target = proxy.as_deref().unwrap_or(url);
    let Some(address) = host_and_port(target) else {
        return Ok(());
    };
    connect(&address).with_context(|| {
        format!("{what} must be fetched, and {role} cannot be reached (is this machine offline?)")
    })
}

/// `host:port` of a URL; none for what has no host, such as `direct` or a file URL.
fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    Some(if has_port {
        host.to_owned()
    } else {
        format!("{host}:{default}")
    })
}

/// Looks the name up and connects, in a thread: a resolver may sit in its own time-outs for long.
fn connect(address: &str) -> Result<()> {
    let (send, answer) = mpsc::channel();
    let target = address.to_owned();
    thread::spawn(move || send.send(try_each(&target)));
    let end = Instant::now() + LIMIT;
    loop {
        match answer.try_recv() {
            Ok(result) => return result.with_context(|| format!("connecting to {address}")),
            Err(_) if Instant::now() > end => {
                bail!(
                    "connecting to {address}: no answer within {} s",
                    LIMIT.as_secs()
                )
            }
            Err(_) => interrupt::sleep(Duration::from_millis(10))?,
        }
    }
}

fn try_each(address: &str) -> std::io::Result<()> {
    let mut last = std::io::Error::other("the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, LIMIT / 3) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_urls() {
        let read = |url| host_and_port(url);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(read("https://proxy.golang.org"), is("proxy.golang.org:443"));
        assert_eq!(
            read("http://deb.debian.org/debian/x"),
            is("deb.debian.org:80")
        );
        assert_eq!(read("http://user:secret@proxy:3128/"), is("proxy:3128"));
        assert_eq!(read("http://[::1]/x"), is("[::1]:80"));
        assert_eq!(read("direct"), None);
        assert_eq!(read("file:///srv/modules"), None);
    }

    #[test]
    fn a_dead_address_is_one_sentence() {
        let refused = reachable_without_proxy("http://127.0.0.1:1").unwrap_err();
        let text = format!("{refused:#}");
        assert!(text.contains("connecting to 127.0.0.1:1"), "{text}");
    }

    fn reachable_without_proxy(url: &str) -> Result<()> {
        connect(&host_and_port(url).unwrap())
    }

    #[test]
    fn apts_own_proxy_is_seen() {
        assert!(is_apt_proxy("Acquire::http::Proxy \"http://cache:3142\";"));
        assert!(!is_apt_proxy("Acquire::http::Proxy \"\";"));
        assert!(!is_apt_proxy("Acquire::http \"\";"));
    }
}
