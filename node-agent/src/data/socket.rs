//! A connection whose other side is known, as the thread of a shard uses it: it is read and written
//! whenever it is ready, from several places, encrypted or not.
//!
//! How it began, and by which certificates, is not known here.

use moraine_tls::rustls::Connection;
use moraine_tls::{Stream, TlsStream};
use std::cell::RefCell;
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::task::coop;

/// Bytes that are read from the kernel at once; TLS by itself asks for few.
const READ_BYTES: usize = 64 << 10;

/// A connection on its way from one thread to another.
#[derive(Debug)]
pub(super) struct Loose {
    tcp: std::net::TcpStream,
    tls: Option<Box<Connection>>,
}

impl Loose {
    /// Takes the connection from its runtime. What has arrived on it stays with it.
    pub(super) fn of(stream: Stream) -> io::Result<Self> {
        let (tcp, tls) = match stream {
            Stream::Plain(tcp) => (tcp, None),
            Stream::Tls(stream) => match *stream {
                TlsStream::Client(stream) => {
                    let (tcp, tls) = stream.into_inner();
                    (tcp, Some(Box::new(tls.into())))
                }
                TlsStream::Server(stream) => {
                    let (tcp, tls) = stream.into_inner();
                    (tcp, Some(Box::new(tls.into())))
                }
            },
        };
        let tcp = tcp.into_std()?;
        Ok(Self { tcp, tls })
    }
}

/// A connection in the hands of this thread's runtime.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<Encrypted>),
}

/// A connection with TLS on it.
#[derive(Debug)]
pub(crate) struct Encrypted {
    tcp: Rc<TcpStream>,
    ends: RefCell<Ends>,
}

/// The state of TLS between frames and the kernel. No call waits with it in its hands.
#[derive(Debug)]
struct Ends {
    tls: Connection,
    kernel: BufReader<Tcp>,
}

impl Socket {
    /// Takes up a connection.
    pub(super) fn new(loose: Loose) -> io::Result<Self> {
        let tcp = TcpStream::from_std(loose.tcp)?;
        let Some(tls) = loose.tls else {
            return Ok(Self::Plain(tcp));
        };
        let tcp = Rc::new(tcp);
        let kernel = BufReader::with_capacity(READ_BYTES, Tcp(Rc::clone(&tcp)));
        let ends = RefCell::new(Ends { tls: *tls, kernel });
        Ok(Self::Tls(Box::new(Encrypted { tcp, ends })))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
        }
    }

    /// The other side's address.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// Reads what is there, waiting for something; zero at the end. Nothing is lost if it is dropped.
    pub(super) async fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        if let Self::Tls(tls) = self {
            return tls.receive(room).await;
        }
        loop {
            self.tcp().readable().await?;
            match self.tcp().try_read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Waits until the kernel takes bytes.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Takes what it can without waiting. With TLS that may be more than the kernel takes:
    /// [`Socket::flush`] sees to the rest.
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(slices),
            Self::Tls(tls) => tls.ends.borrow_mut().write(slices),
        }
    }

    /// Gives the kernel what was taken and is still here; an error of the kind `WouldBlock` if it
    /// doesn't take all of it.
    pub(super) fn flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.ends.borrow_mut().push(),
        }
    }

    /// Whether something that was taken is still here.
    pub(super) fn holds_bytes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.ends.borrow().tls.wants_write(),
        }
    }
}

impl Encrypted {
    async fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            // What is decrypted already may be enough for many calls: others have their turn.
            coop::consume_budget().await;
            match self.ends.borrow_mut().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            self.tcp.readable().await?;
        }
    }
}

impl Ends {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without TLS's farewell. A frame says itself how long it is, so whoever cuts
                // the connection gains nothing by it, and a peer that is killed says no farewell.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            self.tls.read_tls(&mut self.kernel)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The peer is told, if that can be done at once.
                let _ = self.push();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // So no more waits here than one call takes, which TLS bounds.
        self.push()?;
        let taken = self.tls.writer().write_vectored(slices)?;
        match self.push() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(self.kernel.get_mut())? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// The kernel's end: nothing waits, neither to read nor to write.
#[derive(Debug)]
struct Tcp(Rc<TcpStream>);

impl Read for Tcp {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(room)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_tls::Tls;
    use moraine_tls::authority::{Authority, Kind};
    use tokio::net::TcpListener;

    /// Two ends of an encrypted connection, as two shards have them.
    async fn ends(tls: &Tls) -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let (server, client) = tokio::join!(
            async {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut stream = Stream::accept(tcp, Some(tls)).await.unwrap();
                // More follows at once, which must not be lost between the two states.
                stream.receive(&mut [0; 3]).await.unwrap();
                stream
            },
            async {
                let tcp = TcpStream::connect(to).await.unwrap();
                let mut stream = Stream::connect(tcp, Some(tls)).await.unwrap();
                stream.send(&[1, 2, 3, 4, 5]).await.unwrap();
                stream
            }
        );
        let socket = |stream| Socket::new(Loose::of(stream).unwrap()).unwrap();
        (socket(server), socket(client))
    }

    async fn write_all(socket: &Socket, mut bytes: &[u8]) {
        while !bytes.is_empty() || socket.holds_bytes() {
            match socket.try_write_vectored(&[IoSlice::new(bytes)]) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            socket.writable().await.unwrap();
        }
    }

    async fn read(socket: &Socket, bytes: usize) -> Vec<u8> {
        let mut found = vec![0; bytes];
        let mut done = 0;
        while done < bytes {
            let got = socket.receive(&mut found[done..]).await.unwrap();
            assert!(got > 0, "it ended after {done} bytes");
            done += got;
        }
        found
    }

    fn tls() -> Tls {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let files = authority.write(folder.path(), Kind::Good, &[&authority]);
        Tls::open(files).unwrap()
    }

    #[tokio::test]
    async fn both_sides_may_send_much_at_once_and_change_keys_meanwhile() {
        let (server, client) = ends(&tls()).await;
        assert_eq!(read(&server, 2).await, [4, 5]);
        let bytes = |seed: u32| (0..2_000_000_u32).map(move |n| (n * seed / 97).to_le_bytes()[0]);
        let (up, down): (Vec<u8>, Vec<u8>) = (bytes(3).collect(), bytes(5).collect());
        let change_keys = |socket: &Socket| {
            let Socket::Tls(tls) = socket else {
                panic!("it is encrypted");
            };
            tls.ends.borrow_mut().tls.refresh_traffic_keys().unwrap();
        };
        for _ in 0..3 {
            change_keys(&client);
            let ((), (), received, sent) = tokio::join!(
                write_all(&client, &up),
                write_all(&server, &down),
                read(&server, up.len()),
                read(&client, down.len()),
            );
            assert!(received == up && sent == down);
            change_keys(&server);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_the_end_of_its_bytes() {
        let (server, client) = ends(&tls()).await;
        write_all(&client, &vec![6; 100_000]).await;
        drop(client);
        assert_eq!(read(&server, 2).await, [4, 5]);
        assert!(read(&server, 100_000).await == vec![6; 100_000]);
        assert_eq!(server.receive(&mut [0; 10]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_was_changed_on_its_way_is_an_error_and_never_data() {
        let (server, client) = ends(&tls()).await;
        assert_eq!(read(&server, 2).await, [4, 5]);
        // A record as long as it says, and made without the key.
        let mut record = vec![0x17, 3, 3, 0, 100];
        record.extend([7; 100]);
        client.writable().await.unwrap();
        assert_eq!(client.tcp().try_write(&record).unwrap(), record.len());
        let error = server.receive(&mut [0; 200]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
