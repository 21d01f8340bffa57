//! A small client against the server, byte by byte as the specification has it.

use super::*;
use crate::volume::memory::MemoryVolume;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::LocalRuntime;

const SIZE: usize = 1 << 20;
const READ: u16 = 0;
const WRITE: u16 = 1;
const TRIM: u16 = 4;
const EINVAL: u32 = 22;

struct Client(UnixStream);

impl Client {
    /// A client whose greeting is done.
    async fn connect(path: &Path, flags: u32) -> Self {
        let mut stream = UnixStream::connect(path).await.unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        stream.write_u32(flags).await.unwrap();
        Self(stream)
    }

    /// One that has chosen the export and may send requests.
    async fn ready(path: &Path) -> Self {
        let mut client = Self::connect(path, 3).await;
        client.option(7, &[0, 0, 0, 0, 0, 0]).await;
        while client.option_reply().await.1 != 1 {}
        client
    }

    async fn option(&mut self, option: u32, data: &[u8]) {
        let mut bytes = b"IHAVEOPT".to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        self.0.write_all(&bytes).await.unwrap();
    }

    async fn option_reply(&mut self) -> (u32, u32, Vec<u8>) {
        assert_eq!(self.0.read_u64().await.unwrap(), 0x0003_e889_0455_65a9);
        let (option, answer) = (
            self.0.read_u32().await.unwrap(),
            self.0.read_u32().await.unwrap(),
        );
        let mut data = vec![0; self.0.read_u32().await.unwrap() as usize];
        self.0.read_exact(&mut data).await.unwrap();
        (option, answer, data)
    }

    async fn request(
        &mut self,
        command: u16,
        cookie: u64,
        (offset, length): (u64, u32),
        data: &[u8],
    ) {
        let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
        bytes.extend(0_u16.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(data);
        self.0.write_all(&bytes).await.unwrap();
    }

    /// Error and cookie of the next answer.
    async fn reply(&mut self) -> (u32, u64) {
        assert_eq!(self.0.read_u32().await.unwrap(), 0x6744_6698);
        (
            self.0.read_u32().await.unwrap(),
            self.0.read_u64().await.unwrap(),
        )
    }

    async fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0]).await.is_ok_and(|got| got == 0)
    }
}

/// Runs a client against a server of a volume in memory.
fn with_server<F: Future<Output = ()>>(client: impl FnOnce(std::path::PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    LocalRuntime::new().unwrap().block_on(async {
        let listener = listen(&path).unwrap();
        let volume = MemoryVolume::new(SIZE);
        tokio::task::spawn_local(run(listener, volume, "v".to_owned(), false));
        client(path.clone()).await;
    });
}

#[test]
fn what_is_written_is_read_by_another_client() {
    with_server(async |path| {
        let mut client = Client::ready(&path).await;
        let data: Vec<u8> = (0..8192_u32).map(|n| n.to_le_bytes()[0]).collect();
        client.request(WRITE, 1, (4096, 8192), &data).await;
        assert_eq!(client.reply().await, (0, 1));
        let mut other = Client::ready(&path).await;
        other.request(TRIM, 2, (8192, 4096), &[]).await;
        assert_eq!(other.reply().await, (0, 2));
        other.request(READ, 3, (0, 12288), &[]).await;
        assert_eq!(other.reply().await, (0, 3));
        let mut found = vec![0; 12288];
        other.0.read_exact(&mut found).await.unwrap();
        assert_eq!(&found[4096..8192], &data[..4096]);
        assert!(
            found[..4096]
                .iter()
                .chain(&found[8192..])
                .all(|byte| *byte == 0)
        );
    });
}

#[test]
fn many_requests_are_under_way_and_each_gets_its_answer() {
    with_server(async |path| {
        let mut client = Client::ready(&path).await;
        for cookie in 0..100 {
            client
                .request(READ, cookie, (cookie * 4096, 4096), &[])
                .await;
        }
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (error, cookie) = client.reply().await;
            assert_eq!(error, 0);
            client.0.read_exact(&mut [0; 4096]).await.unwrap();
            found.insert(cookie);
        }
        assert_eq!(found.len(), 100);
    });
}

#[test]
fn requests_that_are_not_of_whole_blocks_or_reach_too_far_are_refused_alone() {
    with_server(async |path| {
        let mut client = Client::ready(&path).await;
        let cases = [
            (0, 512),
            (512, 4096),
            (0, 0),
            (SIZE as u64, 4096),
            (u64::MAX - 4095, 4096),
        ];
        for range in cases {
            client.request(READ, 1, range, &[]).await;
            assert_eq!(client.reply().await, (EINVAL, 1), "{range:?}");
        }
        client.request(WRITE, 2, (1, 512), &[7; 512]).await;
        assert_eq!(client.reply().await, (EINVAL, 2));
        client.request(9, 3, (0, 4096), &[]).await;
        assert_eq!(client.reply().await, (EINVAL, 3));
        client.request(READ, 4, (0, 4096), &[]).await;
        assert_eq!(client.reply().await.0, 0, "it goes on");
    });
}

#[test]
fn the_negotiation_says_size_and_blocks() {
    with_server(async |path| {
        let mut client = Client::connect(&path, 3).await;
        client.option(8, &[]).await;
        assert_eq!(
            client.option_reply().await.1,
            (1 << 31) + 1,
            "no structured replies"
        );
        client.option(3, &[]).await;
        assert_eq!(client.option_reply().await, (3, 2, vec![0, 0, 0, 1, b'v']));
        assert_eq!(client.option_reply().await.1, 1);
        client.option(7, &[0, 0, 0, 1, b'x', 0, 0]).await;
        assert_eq!(
            client.option_reply().await.1,
            (1 << 31) + 6,
            "no such export"
        );
        client.option(6, &[0, 0, 0, 1, b'v', 0, 1, 0, 3]).await;
        let (_, answer, export) = client.option_reply().await;
        assert_eq!((answer, &export[..2]), (3, &[0, 0][..]));
        assert_eq!(export[2..10], (SIZE as u64).to_be_bytes());
        let (_, answer, blocks) = client.option_reply().await;
        assert_eq!((answer, &blocks[..6]), (3, &[0, 3, 0, 0, 16, 0][..]));
        assert_eq!(client.option_reply().await.1, 1);
        client.option(2, &[]).await;
        assert_eq!(client.option_reply().await.1, 1);
        assert!(client.is_closed().await, "ABORT ends it");
        // The old way, with zeros behind.
        let mut client = Client::connect(&path, 1).await;
        client.option(1, b"v").await;
        let mut answer = [0; 134];
        client.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..8], (SIZE as u64).to_be_bytes());
        client.request(2, 1, (0, 0), &[]).await;
        assert!(client.is_closed().await, "DISC ends it");
    });
}

#[test]
fn what_is_no_nbd_closes_the_connection() {
    with_server(async |path| {
        let mut client = Client::ready(&path).await;
        client.0.write_all(&[7; 28]).await.unwrap();
        assert!(client.is_closed().await);
        let mut client = Client::ready(&path).await;
        client.request(WRITE, 1, (0, u32::MAX), &[]).await;
        assert!(client.is_closed().await, "nothing is allocated for it");
        let mut client = Client::connect(&path, 0x80).await;
        assert!(client.is_closed().await, "unknown flags");
        let mut client = Client::connect(&path, 3).await;
        client.0.write_all(&[7; 16]).await.unwrap();
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced_but_not_one_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    LocalRuntime::new().unwrap().block_on(async {
        let held = listen(&path).unwrap();
        assert!(listen(&path).is_err());
        drop(held);
        assert!(listen(&path).is_ok());
        std::fs::write(folder.path().join("file"), "data").unwrap();
        assert!(listen(&folder.path().join("file")).is_err());
        assert!(folder.path().join("file").exists());
    });
}
