//! A mail server of few words, for the moments that a real one cannot be made to show: it answers what a test tells it to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What it does after the text of a mail.
#[derive(Clone, Debug)]
pub(super) enum Then {
    Accept,
    /// Closes the connection instead of an answer.
    Die,
    /// Answers this, with what the mail says in place of `{}`.
    Answer(&'static str),
    /// Offers STARTTLS, and goes on in plain text after its answer, as somebody between could.
    Inject,
    /// Answers once the gate is open.
    Wait,
}

pub(super) struct Server {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    then: Mutex<Then>,
    received: Mutex<Vec<String>>,
    /// Mails whose text has arrived, and is not answered.
    held: watch::Sender<usize>,
    gate: Notify,
}

impl Server {
    pub(super) async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, held, gate) = (Mutex::default(), watch::channel(0).0, Notify::new());
        let state = Arc::new(State { then: Mutex::new(then), received, held, gate });
        tokio::spawn({
            let state = state.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let state = state.clone();
                    tokio::spawn(async move { state.serve(stream).await.unwrap_or_default() });
                }
            }
        });
        Self { port, state }
    }

    pub(super) fn toml(&self) -> String {
        format!("[mail]\nsmtp_url = \"smtp://127.0.0.1:{}?tls=none\"\nfrom = \"Auth <auth@example.com>\"\n", self.port)
    }

    pub(super) fn then(&self, then: Then) {
        *self.state.then.lock().unwrap() = then;
    }

    /// The texts that arrived, whatever the answer was.
    pub(super) fn received(&self) -> Vec<String> {
        self.state.received.lock().unwrap().clone()
    }

    /// Waits until so many mails are held.
    pub(super) async fn holds(&self, count: usize) {
        self.state.held.subscribe().wait_for(|held| *held == count).await.unwrap();
    }

    pub(super) fn held(&self) -> usize {
        *self.state.held.borrow()
    }

    pub(super) fn let_one_go(&self) {
        self.state.gate.notify_one();
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let is_injecting = matches!(*self.then.lock().unwrap(), Then::Inject);
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"220 fake\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let answer = match line.get(..4) {
                Some("EHLO") if is_injecting => "250-fake\r\n250 STARTTLS".to_owned(),
                Some("STAR") => {
                    writer.write_all(b"220 go on\r\n250 injected\r\n250 injected\r\n").await?;
                    // Nothing in plain text follows but the handshake, which begins with its type and version.
                    let mut next = [0; 2];
                    lines.into_inner().read_exact(&mut next).await?;
                    self.received.lock().unwrap().push(format!("{next:?}"));
                    // It stays open: only what was injected can end the handshake.
                    self.gate.notified().await;
                    return Ok(());
                }
                Some("EHLO") => "250-fake\r\n250 8BITMIME".to_owned(),
                Some("DATA") => {
                    writer.write_all(b"354 go on\r\n").await?;
                    let mut text = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        text = text + &line + "\n";
                    }
                    self.received.lock().unwrap().push(text.clone());
                    let then = self.then.lock().unwrap().clone();
                    match then {
                        Then::Accept => "250 done".to_owned(),
                        Then::Die | Then::Inject => return Ok(()),
                        Then::Answer(answer) => {
                            answer.replace("{}", text.lines().find(|l| l.contains("http")).unwrap_or_default())
                        }
                        Then::Wait => {
                            self.held.send_modify(|held| *held += 1);
                            self.gate.notified().await;
                            self.held.send_modify(|held| *held -= 1);
                            "250 done".to_owned()
                        }
                    }
                }
                _ => "250 fine".to_owned(),
            };
            writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}
