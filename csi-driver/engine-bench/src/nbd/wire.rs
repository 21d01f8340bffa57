//! The bytes of NBD: numbers of its specification, requests and replies as values. Nothing here
//! reads from a socket.
//!
//! Own code, since no crate serves: `nbd` (the only one with a server) handles one request at a time
//! over blocking streams, and has neither `GO` nor block sizes. Numbers are big-endian, and what is
//! not named here is refused.

/// First bytes of a server: `NBDMAGIC`.
pub(super) const SERVER_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Opens the greeting of the newer style, and each option: `IHAVEOPT`.
pub(super) const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// The server knows options that get a reply.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
/// Either side can do without the zeros behind an `EXPORT_NAME` answer.
pub(super) const NO_ZEROES: u16 = 2;

/// Bytes of an option before its data.
pub(super) const OPTION_BYTES: usize = 16;
/// Bytes of a request before its data.
pub(super) const REQUEST_BYTES: usize = 28;

/// What a client may ask before it sends requests.
pub(super) mod option {
    pub(in super::super) const EXPORT_NAME: u32 = 1;
    pub(in super::super) const ABORT: u32 = 2;
    pub(in super::super) const LIST: u32 = 3;
    pub(in super::super) const INFO: u32 = 6;
    pub(in super::super) const GO: u32 = 7;
}

/// What an option is answered with.
pub(super) mod answer {
    const ERROR: u32 = 1 << 31;
    pub(in super::super) const ACK: u32 = 1;
    pub(in super::super) const SERVER: u32 = 2;
    pub(in super::super) const INFO: u32 = 3;
    pub(in super::super) const UNSUPPORTED: u32 = ERROR | 1;
    pub(in super::super) const INVALID: u32 = ERROR | 3;
    pub(in super::super) const UNKNOWN: u32 = ERROR | 6;
}

/// What an `INFO` answer is about.
pub(super) mod info {
    pub(in super::super) const EXPORT: u16 = 0;
    pub(in super::super) const BLOCK_SIZE: u16 = 3;
}

/// What an export can do.
pub(super) mod export_flag {
    pub(in super::super) const HAS_FLAGS: u16 = 1;
    pub(in super::super) const READ_ONLY: u16 = 1 << 1;
    pub(in super::super) const FLUSH: u16 = 1 << 2;
    pub(in super::super) const FUA: u16 = 1 << 3;
    pub(in super::super) const TRIM: u16 = 1 << 5;
    pub(in super::super) const WRITE_ZEROES: u16 = 1 << 6;
    pub(in super::super) const MULTI_CONN: u16 = 1 << 8;
}

/// Modifies a request.
pub(super) mod request_flag {
    /// The write is to be durable when it is answered, which ours always is.
    pub(in super::super) const FUA: u16 = 1;
    /// The zeros are to take room, which they never do here; allowed to be ignored.
    pub(in super::super) const NO_HOLE: u16 = 1 << 1;
}

/// Why a request was not done: numbers of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Errno {
    Permission = 1,
    Io = 5,
    Invalid = 22,
    NoSpace = 28,
    Overflow = 75,
    ShutDown = 108,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    /// One that the export doesn't offer.
    Other(u16),
}

/// A request, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: Command,
    /// The client's name for it, sent back.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Request {
    /// Reads a request; `None` if it does not begin as one.
    pub(super) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        if u32::from_be_bytes(part(bytes, 0)) != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: u16::from_be_bytes(part(bytes, 4)),
            command: match u16::from_be_bytes(part(bytes, 6)) {
                0 => Command::Read,
                1 => Command::Write,
                2 => Command::Disconnect,
                3 => Command::Flush,
                4 => Command::Trim,
                6 => Command::WriteZeroes,
                other => Command::Other(other),
            },
            cookie: u64::from_be_bytes(part(bytes, 8)),
            offset: u64::from_be_bytes(part(bytes, 16)),
            length: u32::from_be_bytes(part(bytes, 24)),
        })
    }
}

/// The head of an answer to a request; the data of a read follows it.
pub(super) fn reply(cookie: u64, error: Option<Errno>) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, |error| error as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// An answer to an option.
pub(super) fn option_reply(option: u32, answer: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(answer.to_be_bytes());
    let length = u32::try_from(data.len()).expect("answers are short");
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// An option's number and the bytes of its data; `None` if it does not begin as one.
pub(super) fn decode_option(bytes: &[u8; OPTION_BYTES]) -> Option<(u32, usize)> {
    if u64::from_be_bytes(part(bytes, 0)) != OPTION_MAGIC {
        return None;
    }
    let length = u32::from_be_bytes(part(bytes, 12));
    Some((u32::from_be_bytes(part(bytes, 8)), length as usize))
}

/// The export's name in the data of `INFO` or `GO`, and the kinds of information that are asked for;
/// `None` if the data is malformed.
pub(super) fn decode_info(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let (length, rest) = data.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (name, rest) = rest.split_at_checked(length)?;
    let (count, kinds) = rest.split_first_chunk()?;
    let kinds: Vec<u16> = kinds
        .chunks(2)
        .map(|kind| Some(u16::from_be_bytes(kind.try_into().ok()?)))
        .collect::<Option<_>>()?;
    (kinds.len() == usize::from(u16::from_be_bytes(*count))).then_some((name, kinds))
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let bytes = &bytes[from..from + N];
    bytes.try_into().expect("the slice is as long as the array")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_the_specification_lays_it_out() {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
        bytes[5] = 1;
        bytes[7] = 6;
        bytes[15] = 9;
        bytes[22] = 0x10;
        bytes[26] = 0x20;
        let expected = Request {
            flags: request_flag::FUA,
            command: Command::WriteZeroes,
            cookie: 9,
            offset: 4096,
            length: 8192,
        };
        assert_eq!(Request::decode(&bytes), Some(expected));
        bytes[0] = 0;
        assert_eq!(Request::decode(&bytes), None);
    }

    #[test]
    fn information_that_does_not_fit_its_lengths_is_malformed() {
        let good = [0, 0, 0, 2, b'v', b'1', 0, 1, 0, 3];
        assert_eq!(decode_info(&good), Some((&b"v1"[..], vec![3])));
        for bad in [
            &[][..],
            &[0, 0, 0, 9, b'v'],
            &[0, 0, 0, 1, b'v', 0, 2, 0, 3],
            &[0, 0, 0, 1, b'v', 0, 1, 0],
        ] {
            assert_eq!(decode_info(bad), None, "{bad:?}");
        }
    }
}
