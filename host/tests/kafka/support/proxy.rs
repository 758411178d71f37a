//! A proxy between clients and their broker, which holds back answers, or loses them.

use super::Kafka;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use xtask::kafka::{Cluster, Second, Setup, free_ports};

/// How answers travel. Requests always arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Prompt,
    /// Each piece of an answer takes so long.
    Late(Duration),
    /// Nothing arrives until this is over.
    HeldBack,
}

/// A broker with two ways to it.
pub struct Proxied {
    pub cluster: Cluster,
    /// Past the proxy.
    pub direct: Kafka,
    /// Through it.
    pub through: Kafka,
    pub proxy: Proxy,
}

impl Proxied {
    pub fn start(folder: &Path, setup: &Setup) -> Proxied {
        let [direct, behind, front] = free_ports(3).unwrap()[..] else { unreachable!("three were asked for") };
        let proxy = Proxy::start(TcpListener::bind((Ipv4Addr::LOCALHOST, front)).unwrap(), behind);
        let setup = Setup { second: Some(Second { behind, front }), ..setup.clone() };
        let cluster = Cluster::start_at(folder, &setup, vec![direct]).unwrap();
        let [direct, through] = [direct, front].map(|port| Kafka { address: format!("127.0.0.1:{port}") });
        Proxied { cluster, direct, through, proxy }
    }
}

/// It ends with its connections.
pub struct Proxy {
    state: Arc<State>,
    port: u16,
}

struct State {
    answers: Mutex<Answers>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

impl Proxy {
    fn start(listener: TcpListener, broker: u16) -> Proxy {
        let state = Arc::new(State {
            answers: Mutex::new(Answers::Prompt),
            changed: Condvar::new(),
            open: Mutex::default(),
            over: AtomicBool::default(),
        });
        let port = listener.local_addr().unwrap().port();
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    break;
                }
                // Without a broker behind it, the connection ends at once.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, broker))) {
                    shared.join(&client, &server);
                }
            }
        });
        Proxy { state, port }
    }

    /// From now on.
    pub fn let_answers_be(&self, answers: Answers) {
        *self.state.answers.lock().unwrap() = answers;
        self.state.changed.notify_all();
    }

    /// Ends every connection, with what is held back in it.
    pub fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
        self.state.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        self.let_answers_be(Answers::Prompt);
        self.cut();
        // It looks whether it is over when somebody comes.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl State {
    /// Carries both ways between the two, each in a thread of its own.
    fn join(self: &Arc<State>, client: &TcpStream, server: &TcpStream) {
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        self.open.lock().unwrap().extend([copy(client), copy(server)]);
        let (from, to) = (copy(client), copy(server));
        thread::spawn(move || carry(from, to, || {}));
        let (from, to, state) = (copy(server), copy(client), self.clone());
        thread::spawn(move || carry(from, to, || state.wait()));
    }

    fn wait(&self) {
        let answers = self.answers.lock().unwrap();
        let answers = self.changed.wait_while(answers, |answers| *answers == Answers::HeldBack).unwrap();
        if let Answers::Late(time) = *answers {
            drop(answers);
            thread::sleep(time);
        }
    }
}

/// Until one of them ends; then the other one does.
fn carry(mut from: TcpStream, mut to: TcpStream, wait: impl Fn()) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        wait();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
