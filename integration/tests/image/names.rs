//! A name server that knows one name.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The handle.
pub struct NameServer {
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Answers at port 53 of that address with the one of that name.
    pub async fn start(at: Ipv4Addr, name: &str, address: Ipv4Addr) -> Result<NameServer> {
        let socket = UdpSocket::bind((at, 53)).await.context("port 53")?;
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, wanted) = (Arc::clone(&asked), encoded(name));
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let question = question.get(..length).unwrap_or_default();
                if let Some(answer) = answer(question, &wanted, address) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(NameServer { asked, task })
    }

    /// How many questions were answered.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A name as labels with their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap_or_default();
        std::iter::once(length).chain(label.bytes())
    });
    labels.chain([0]).collect()
}

/// RFC 1035, section 4: one question, and an address for it or none.
fn answer(question: &[u8], wanted: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const ADDRESS: [u8; 4] = [0, 1, 0, 1];
    let asked = question.get(HEADER..HEADER + wanted.len())?;
    let kind = question.get(HEADER + wanted.len()..HEADER + wanted.len() + 4)?;
    let known = asked.eq_ignore_ascii_case(wanted);
    let found = known && kind == ADDRESS;
    let mut answer = question.get(..2)?.to_vec();
    // With authority; 3 is "no such name".
    answer.extend([0x85, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(asked);
    answer.extend(kind);
    if found {
        // The name of the question, for five seconds.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
