//! A wire with weather: a TCP proxy in user space that counts, cuts, stalls, delays and throttles.
//!
//! Delay and rate are those of a link with one bottleneck: bytes leave the sender, queue for the bottleneck, pass it
//! one after another at its rate, and travel for the delay. The queue is short and nothing is lost: a sender that is
//! ahead of the rate is held back. The TCP handshake is answered on this side of the wire, so it costs no round trip.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes moved at a time: large enough that a fast wire costs little CPU.
const PIECE_MAX: usize = 64 * 1024;
/// Fewest, on a slow wire.
const PIECE_MIN: usize = 1024;
/// On a wire with a rate, what passes in this time is moved at a time.
const PIECE_TIME: Duration = Duration::from_millis(5);
/// What waits for the bottleneck passes in this time. Longer than a busy machine leaves a thread waiting.
const QUEUE_TIME: Duration = Duration::from_millis(20);
/// Pieces under way each way: what a long wire without a rate holds. 128 MiB.
const UNDER_WAY: usize = 2048;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the agent to the server.
    Up,
    /// From the server to the agent.
    Down,
}

/// A wire to one server.
///
/// Its threads end with the connections they carry, or with the process.
pub struct Wire {
    address: SocketAddr,
    weather: Arc<Weather>,
}

struct Weather {
    server: SocketAddr,
    down: AtomicBool,
    stalled: AtomicBool,
    delay_us: AtomicU64,
    bytes_per_sec: AtomicU64,
    /// When the bottleneck has passed everything it was given, each way. All connections share it.
    passed: [Mutex<Instant>; 2],
    carried: [AtomicU64; 2],
    /// The count of [`Weather::carried`] at which the wire goes down by itself, and that at which it stalls.
    cut_at: [AtomicU64; 2],
    stall_at: [AtomicU64; 2],
    open: Mutex<Vec<TcpStream>>,
}

/// Bytes under way.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    /// How many of them count.
    len: usize,
}

impl Wire {
    /// A wire to this server, in fair weather.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let weather = Arc::new(Weather {
            server,
            down: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            bytes_per_sec: AtomicU64::new(u64::MAX),
            passed: [Mutex::new(Instant::now()), Mutex::new(Instant::now())],
            carried: [AtomicU64::new(0), AtomicU64::new(0)],
            cut_at: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            stall_at: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            open: Mutex::new(Vec::new()),
        });
        let shared = Arc::clone(&weather);
        thread::spawn(move || listener.incoming().flatten().for_each(|agent| shared.accept(agent)));
        Self { address, weather }
    }

    /// Where the agent connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and each new one at once, until [`Wire::mend`].
    pub fn cut(&self) {
        self.weather.cut();
    }

    /// Cuts by itself once this many more bytes have gone this way.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let at = self.carried(way) + bytes;
        self.weather.cut_at[way as usize].store(at, Ordering::SeqCst);
    }

    /// Whether the wire is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.weather.down.load(Ordering::SeqCst)
    }

    /// Lets connections through again. A cut that was to come by itself comes no more.
    pub fn mend(&self) {
        self.weather.cut_at.iter().for_each(|at| at.store(u64::MAX, Ordering::SeqCst));
        self.weather.down.store(false, Ordering::SeqCst);
    }

    /// Lets no byte through, with every connection open, until told otherwise.
    pub fn stall(&self, stalled: bool) {
        self.weather.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Stalls by itself once this many more bytes have gone this way, until [`Wire::stall`] ends it.
    pub fn stall_after(&self, way: Way, bytes: u64) {
        let at = self.carried(way) + bytes;
        self.weather.stall_at[way as usize].store(at, Ordering::SeqCst);
    }

    /// Whether the wire is stalled.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.weather.stalled.load(Ordering::SeqCst)
    }

    /// Delays every byte by this much, each way. The wire holds what is under way, as a long one does.
    pub fn delay(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).expect("a short time");
        self.weather.delay_us.store(us, Ordering::SeqCst);
    }

    /// Carries no more than this, each way, over all connections.
    pub fn throttle(&self, bytes_per_sec: u64) {
        self.weather.bytes_per_sec.store(bytes_per_sec, Ordering::SeqCst);
    }

    /// Bytes carried this way so far.
    #[must_use]
    pub fn carried(&self, way: Way) -> u64 {
        self.weather.carried[way as usize].load(Ordering::SeqCst)
    }

    /// Bytes carried both ways so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.carried(Way::Up) + self.carried(Way::Down)
    }
}

impl Weather {
    fn accept(self: &Arc<Self>, agent: TcpStream) {
        if self.down.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else {
            return;
        };
        for stream in [&agent, &server] {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let kept = stream.try_clone().expect("dup");
            self.open.lock().expect("no holder panics").push(kept);
        }
        // A cut between the look above and here would have missed these two.
        if self.down.load(Ordering::SeqCst) {
            self.cut();
        }
        let (agent_too, server_too) = (agent.try_clone().expect("dup"), server.try_clone().expect("dup"));
        self.carry(Way::Up, agent, server);
        self.carry(Way::Down, server_too, agent_too);
    }

    /// Carries one way of one connection on two threads: one takes bytes in, the other lets them out when due.
    fn carry(self: &Arc<Self>, way: Way, from: TcpStream, to: TcpStream) {
        let (put, take) = sync_channel(UNDER_WAY);
        let (give_back, spare) = channel();
        let (one, other) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || one.take_in(way, from, &put, &spare));
        thread::spawn(move || other.let_out(way, to, &take, &give_back));
    }

    fn take_in(&self, way: Way, mut from: TcpStream, put: &SyncSender<Piece>, spare: &Receiver<Vec<u8>>) {
        loop {
            let mut bytes = spare.try_recv().unwrap_or_else(|_| vec![0; PIECE_MAX]);
            let most = self.piece_len();
            let Ok(len @ 1..) = from.read(&mut bytes[..most]) else {
                return;
            };
            let due = self.pass(way, len) + Duration::from_micros(self.delay_us.load(Ordering::SeqCst));
            if put.send(Piece { due, bytes, len }).is_err() {
                return;
            }
        }
    }

    /// Bytes to take in at a time.
    fn piece_len(&self) -> usize {
        let rate = self.bytes_per_sec.load(Ordering::SeqCst);
        let len = (u128::from(rate) * PIECE_TIME.as_micros()) / 1_000_000;
        usize::try_from(len).unwrap_or(PIECE_MAX).clamp(PIECE_MIN, PIECE_MAX)
    }

    /// Queues this many bytes for the bottleneck and returns when they have passed it; waits while the queue is full.
    fn pass(&self, way: Way, len: usize) -> Instant {
        let rate = self.bytes_per_sec.load(Ordering::SeqCst);
        let now = Instant::now();
        let passed = {
            let mut last = self.passed[way as usize].lock().expect("no holder panics");
            // Times are added up, not slept one by one, so the error of one sleep does not slow the next piece.
            *last = now.max(*last) + Duration::from_secs_f64(len as f64 / rate as f64);
            *last
        };
        thread::sleep(passed.saturating_duration_since(now).saturating_sub(QUEUE_TIME));
        passed
    }

    fn let_out(&self, way: Way, mut to: TcpStream, take: &Receiver<Piece>, give_back: &Sender<Vec<u8>>) {
        for Piece { due, bytes, mut len } in take {
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            while self.stalled.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            let before = self.carried[way as usize].fetch_add(len as u64, Ordering::SeqCst);
            if self.stall_at[way as usize].load(Ordering::SeqCst) <= before + len as u64 {
                self.stall_at[way as usize].store(u64::MAX, Ordering::SeqCst);
                self.stalled.store(true, Ordering::SeqCst);
            }
            let left = self.cut_at[way as usize].load(Ordering::SeqCst).saturating_sub(before);
            let cut = left < len as u64;
            if cut {
                len = usize::try_from(left).expect("shorter than a piece");
                self.cut_at[way as usize].store(u64::MAX, Ordering::SeqCst);
            }
            let written = to.write_all(&bytes[..len]);
            if cut {
                self.cut();
            }
            if written.is_err() {
                break;
            }
            // The other thread has ended when the sender has closed.
            drop(give_back.send(bytes));
        }
        // The end of the one side is the end of the other; it may be closed already.
        drop(to.shutdown(Shutdown::Write));
    }

    fn cut(&self) {
        self.down.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("no holder panics").drain(..) {
            // Already closed is as good.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}
