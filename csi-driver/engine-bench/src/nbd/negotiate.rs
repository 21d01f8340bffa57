//! What comes before the first request: the server says what it is, the client chooses the export.
//!
//! One export, without TLS: the socket's folder says who may connect.

use super::wire::{self, answer, export_flag, info, option};
use super::{BLOCK_MIN, CloseReason, REQUEST_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Most bytes of an option's data: a name of 4096 bytes and what is around it.
const OPTION_DATA_MAX: usize = 8192;
/// Most options of one client.
const OPTIONS_MAX: usize = 64;

/// What is offered.
#[derive(Debug, Clone)]
pub(super) struct Export {
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) read_only: bool,
}

/// How a negotiation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Requests follow.
    Go,
    /// The client has asked what it wanted to know, or has gone.
    Left,
}

impl Export {
    fn flags(&self) -> u16 {
        let mut flags = export_flag::HAS_FLAGS | export_flag::FLUSH | export_flag::FUA;
        // Every acknowledged write is durable, so a flush on one connection is one on all.
        flags |= export_flag::MULTI_CONN;
        if self.read_only {
            flags | export_flag::READ_ONLY
        } else {
            flags | export_flag::TRIM | export_flag::WRITE_ZEROES
        }
    }

    /// The empty name is the default export, which this is.
    fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    /// Size and flags, as two kinds of answers have them.
    fn numbers(&self) -> Vec<u8> {
        let mut bytes = self.size_bytes.to_be_bytes().to_vec();
        bytes.extend(self.flags().to_be_bytes());
        bytes
    }

    fn info(&self, kind: u16) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        match kind {
            info::EXPORT => bytes.extend(self.numbers()),
            _ => {
                for size in [BLOCK_MIN, BLOCK_MIN, REQUEST_BYTES_MAX] {
                    bytes.extend(size.to_be_bytes());
                }
            }
        }
        bytes
    }
}

/// Talks to a client until it sends requests or leaves.
pub(super) async fn negotiate<S>(stream: &mut S, export: &Export) -> Result<Outcome, CloseReason>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let ours = wire::FIXED_NEWSTYLE | wire::NO_ZEROES;
    let mut greeting = wire::SERVER_MAGIC.to_be_bytes().to_vec();
    greeting.extend(wire::OPTION_MAGIC.to_be_bytes());
    greeting.extend(ours.to_be_bytes());
    stream.write_all(&greeting).await?;
    let theirs = stream.read_u32().await?;
    if theirs & !u32::from(ours) != 0 {
        return Err(CloseReason::Malformed("flags that no client has"));
    }
    let wants_zeros = theirs & u32::from(wire::NO_ZEROES) == 0;
    for _ in 0..OPTIONS_MAX {
        let mut head = [0; wire::OPTION_BYTES];
        stream.read_exact(&mut head).await?;
        let (option, length) =
            wire::decode_option(&head).ok_or(CloseReason::Malformed("no option"))?;
        if length > OPTION_DATA_MAX {
            return Err(CloseReason::Malformed("an option of too many bytes"));
        }
        let mut data = vec![0; length];
        stream.read_exact(&mut data).await?;
        if option == option::EXPORT_NAME {
            return by_name(stream, export, &data, wants_zeros).await;
        }
        let (replies, outcome) = answer(export, option, &data);
        stream.write_all(&replies).await?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Err(CloseReason::Malformed("options without end"))
}

/// The old way to choose an export, which knows no refusal but to hang up.
async fn by_name<S: AsyncWriteExt + Unpin>(
    stream: &mut S,
    export: &Export,
    name: &[u8],
    wants_zeros: bool,
) -> Result<Outcome, CloseReason> {
    if !export.is_named(name) {
        return Err(CloseReason::UnknownExport(
            String::from_utf8_lossy(name).into_owned(),
        ));
    }
    let mut bytes = export.numbers();
    if wants_zeros {
        bytes.extend([0; 124]);
    }
    stream.write_all(&bytes).await?;
    Ok(Outcome::Go)
}

/// The replies to an option, and whether it ends the negotiation.
fn answer(export: &Export, option: u32, data: &[u8]) -> (Vec<u8>, Option<Outcome>) {
    let reply = |answer, data: &[u8]| wire::option_reply(option, answer, data);
    let refused = |answer, text: &str| (reply(answer, text.as_bytes()), None);
    match option {
        option::ABORT => (reply(answer::ACK, &[]), Some(Outcome::Left)),
        option::LIST if !data.is_empty() => refused(answer::INVALID, "LIST has no data"),
        option::LIST => {
            let length = u32::try_from(export.name.len()).expect("names are short");
            let mut server = length.to_be_bytes().to_vec();
            server.extend(export.name.as_bytes());
            let mut replies = reply(answer::SERVER, &server);
            replies.extend(reply(answer::ACK, &[]));
            (replies, None)
        }
        option::INFO | option::GO => {
            let Some((name, kinds)) = wire::decode_info(data) else {
                return refused(answer::INVALID, "lengths that don't fit");
            };
            if !export.is_named(name) {
                return refused(answer::UNKNOWN, "there is no such export");
            }
            let mut replies = reply(answer::INFO, &export.info(info::EXPORT));
            if kinds.contains(&info::BLOCK_SIZE) {
                replies.extend(reply(answer::INFO, &export.info(info::BLOCK_SIZE)));
            }
            replies.extend(reply(answer::ACK, &[]));
            (replies, (option == option::GO).then_some(Outcome::Go))
        }
        _ => refused(answer::UNSUPPORTED, "not offered here"),
    }
}
