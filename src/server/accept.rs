//! Accepting connections, and handing each to the worker with the fewest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::listen::{self, Listener};
use super::worker::Gate;
use crate::base::os;
use crate::commands::Server;
use crate::config::Config;

/// Files that the server needs beside its clients'.
const RESERVED_FILES: u64 = 32;

/// A socket that was accepted, on its way to a worker.
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket, with the path it listens at.
    Unix(std::os::unix::net::UnixStream, String),
}

/// The accept loops of the main thread.
#[derive(Clone)]
pub struct Acceptors {
    server: &'static Server,
    gates: Arc<[Gate]>,
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
    orders: UnboundedSender<Vec<Listener>>,
}

/// How other threads change what is listened on.
pub struct Remote {
    config: &'static Config,
    /// The TCP sockets in use, and the way to replace them.
    state: Mutex<(Vec<std::net::TcpListener>, UnboundedSender<Vec<Listener>>)>,
}

impl Remote {
    /// Nobody can connect any more.
    pub fn close(&self) {
        deafen(&mut self.state.lock().0);
        listen::remove_socket(self.config);
    }
    /// Closes the TCP sockets and opens those that `port` and `bind` ask for now. The old ones go first, or an address
    /// that is in both could not be bound. After a failure nothing listens until the next call: CONFIG SET puts the
    /// options back and calls again.
    pub fn rebind(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        deafen(&mut state.0);
        let list = listen::bind_tcp(self.config).inspect_err(|e| tracing::warn!("{e}"))?;
        state.0 = tcp_sockets(&list);
        state.1.send(list).map_err(|_| "the server is ending".to_owned())
    }
}

/// Ends listening at once, although the accept loop still holds the sockets.
pub(super) fn deafen(sockets: &mut Vec<std::net::TcpListener>) {
    for socket in sockets.drain(..) {
        // One that did not listen any more is no loss.
        let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Read);
    }
}

/// The TCP sockets among some listeners, held a second time.
fn tcp_sockets(listeners: &[Listener]) -> Vec<std::net::TcpListener> {
    let tcp = |listener: &Listener| match listener {
        Listener::Tcp(socket) => socket.try_clone().ok(),
        Listener::Unix(_) => None,
    };
    listeners.iter().filter_map(tcp).collect()
}

impl Acceptors {
    /// For these workers.
    pub fn new(server: &'static Server, gates: Arc<[Gate]>) -> Acceptors {
        let (orders, mut from) = unbounded_channel::<Vec<Listener>>();
        let this = Acceptors { server, gates, tasks: Rc::default(), orders };
        let me = this.clone();
        tokio::task::spawn_local(async move {
            while let Some(list) = from.recv().await {
                // The unix socket stays as it is: only TCP tasks are replaced. They are the first ones.
                me.tasks.borrow_mut().drain(..).for_each(|t| t.abort());
                me.listen(list);
            }
        });
        this
    }
    /// How other threads change what is listened on, which now is `listeners`.
    pub fn remote(&self, listeners: &[Listener]) -> Remote {
        Remote { config: self.server.config, state: Mutex::new((tcp_sockets(listeners), self.orders.clone())) }
    }
    /// Accepts on these sockets.
    pub fn listen(&self, listeners: Vec<Listener>) {
        for l in listeners {
            let (server, gates) = (self.server, self.gates.clone());
            match l {
                Listener::Tcp(l) => {
                    let task = tokio::task::spawn_local(async move {
                        let Ok(l) = tokio::net::TcpListener::from_std(l) else { return };
                        loop {
                            match l.accept().await {
                                Ok((s, _)) => {
                                    if let Ok(s) = s.into_std() {
                                        hand_over(server, &gates, Accepted::Tcp(s));
                                    }
                                }
                                // It was told to listen no more.
                                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return,
                                Err(e) => failed(&e).await,
                            }
                        }
                    });
                    self.tasks.borrow_mut().push(task);
                }
                Listener::Unix(l) => {
                    let path = String::from_utf8_lossy(&server.config.unixsocket()).into_owned();
                    tokio::task::spawn_local(async move {
                        let Ok(l) = tokio::net::UnixListener::from_std(l) else { return };
                        loop {
                            match l.accept().await {
                                Ok((s, _)) => {
                                    if let Ok(s) = s.into_std() {
                                        hand_over(server, &gates, Accepted::Unix(s, path.clone()));
                                    }
                                }
                                Err(e) => failed(&e).await,
                            }
                        }
                    });
                }
            }
        }
    }
    /// Accepts nothing more.
    pub fn close(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|t| t.abort());
    }
}

/// Out of files, as a rule: trying again at once would spin.
async fn failed(e: &std::io::Error) {
    tracing::warn!("Error accepting a client connection: {e}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn hand_over(server: &'static Server, gates: &[Gate], accepted: Accepted) {
    let refused = refusal(server, &accepted);
    if let Some(text) = refused {
        refuse(accepted, text);
        return;
    }
    let gate = gates.iter().min_by_key(|g| g.load()).expect("at least one worker");
    gate.send(server.registry.admit(), accepted);
}

/// Why this connection is not wanted.
fn refusal(server: &'static Server, accepted: &Accepted) -> Option<&'static str> {
    if server.registry.len() >= server.config.maxclients() {
        server.registry.count_rejected();
        return Some("-ERR max number of clients reached\r\n");
    }
    let outside = match accepted {
        Accepted::Tcp(s) => s.peer_addr().is_ok_and(|a| !a.ip().to_canonical().is_loopback()),
        Accepted::Unix(..) => false,
    };
    if outside && server.config.protected_mode() && server.acl.default_has_no_password() {
        server.registry.count_rejected();
        return Some(
            "-DENIED Dunlin is running in protected mode because protected mode is enabled and no password is set for \
             the default user. In this mode connections are only accepted from the loopback interface. If you want to \
             connect from external computers, you may adopt one of the following solutions: 1) Disable protected mode \
             by sending the command 'CONFIG SET protected-mode no' from the loopback interface, while connected from \
             the same host the server is running on; use CONFIG REWRITE to make the change permanent. 2) Set the \
             option protected-mode to 'no' in the configuration file, and restart the server. 3) Start the server with \
             '--protected-mode no'. 4) Set an authentication password for the default user. You only need to do one of \
             these things for the server to accept connections from the outside.\r\n",
        );
    }
    None
}

fn refuse(accepted: Accepted, text: &str) {
    use std::io::Write;
    // The socket's buffer is empty, so this does not block; if it fails the client is gone.
    let _ = match accepted {
        Accepted::Tcp(mut s) => s.write_all(text.as_bytes()),
        Accepted::Unix(mut s, _) => s.write_all(text.as_bytes()),
    };
}

/// Lets the process open as many files as `maxclients` needs, and warns if it may not.
pub fn raise_open_files(config: &Config) {
    let wanted = config.maxclients() as u64 + RESERVED_FILES;
    let got = os::raise_open_files(wanted);
    if got < wanted {
        tracing::warn!(
            "maxclients of {} needs {wanted} open files, but the limit is {got}: connections over {} are refused.",
            config.maxclients(),
            got.saturating_sub(RESERVED_FILES)
        );
    }
}

/// CONFIG SET maxclients.
pub fn check_open_files(config: &Config) -> Result<(), String> {
    let wanted = config.maxclients() as u64 + RESERVED_FILES;
    if os::raise_open_files(wanted) < wanted {
        return Err("The operating system is not able to handle the specified number of clients, try with a lower \
                    number"
            .to_owned());
    }
    Ok(())
}
