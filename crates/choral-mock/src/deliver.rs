//! Sends a reply over its connection, whole or broken.
//!
//! Owns how each fault of a body is carried out. Faults that leave no response (a reset,
//! a refusal) are the gate's.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::fault::Fault;
use crate::record::{OpenRequest, Outcome};
use crate::reply::{Body, Reply};
use crate::vendor::Vendor;

/// Bytes between two pauses of a slow body.
const DRIP_BYTES: usize = 16;
/// Bytes of one piece of a huge body.
const HUGE_PIECE: u64 = 64 * 1024;
/// Time for bytes that were written to leave before the connection is broken.
const FLUSH_TIME: Duration = Duration::from_millis(30);

/// One thing to do while a body is sent.
enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Filler until so many bytes were sent.
    Fill(u64),
    /// Break the connection with RST.
    Reset,
    /// Stop without the body's end.
    Cut,
}

/// Turns a reply into a response that is, or is not, what the client hopes for.
pub(crate) fn deliver(
    reply: Reply,
    fault: &Fault,
    vendor: Vendor,
    pace: Duration,
    connection: &Arc<Connection>,
    open: OpenRequest,
) -> Response {
    let mut reply = break_content(reply, fault, vendor);
    open.set_status(reply.status);
    let frames = match (&reply.body, fault) {
        (Body::Whole(bytes), Fault::SlowDrip(_)) => pieces(bytes),
        (Body::Whole(bytes), _) if fault_cuts(fault) => halves(bytes),
        (Body::Whole(bytes), Fault::HugeBody(_)) => vec![bytes.slice(..bytes.len() / 2)],
        (Body::Whole(bytes), _) => {
            let body = Sent::whole(bytes.clone(), open);
            return respond(&reply, None, body);
        }
        (Body::Frames(frames), _) => frames.clone(),
    };
    let length: usize = frames.iter().map(Bytes::len).sum();
    let promised = (*fault == Fault::Truncated).then_some(length as u64 * 2);
    reply.body = Body::Whole(Bytes::new());
    let steps = steps(frames, fault, vendor, pace);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(steps, sender));
    let source = Source::Channel(receiver, Arc::clone(connection));
    respond(
        &reply,
        promised,
        Sent {
            source,
            open: Some(open),
        },
    )
}

fn respond(reply: &Reply, promised: Option<u64>, body: Sent) -> Response {
    let mut head = reply.head();
    if let Some(length) = promised {
        head = head.header(header::CONTENT_LENGTH, length);
    }
    // Status and headers were checked when they were made.
    head.body(axum::body::Body::new(body))
        .expect("a response of valid parts")
}

/// Faults that change what is said, and not how it is sent.
fn break_content(mut reply: Reply, fault: &Fault, vendor: Vendor) -> Reply {
    match (fault, &mut reply.body) {
        (Fault::WrongContentType, _) => {
            let page = "<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>";
            return Reply {
                body: Body::Whole(page.into()),
                content_type: "text/html",
                ..reply
            };
        }
        (Fault::MalformedJson, Body::Whole(bytes)) => {
            let keep = bytes.len().saturating_sub(1);
            *bytes = bytes.slice(..keep);
        }
        (Fault::MalformedJson, Body::Frames(frames)) => {
            let middle = frames.len() / 2;
            if let Some(frame) = frames.get_mut(middle) {
                *frame = String::from_utf8_lossy(frame).replacen('{', "{{", 1).into();
            }
        }
        (Fault::StreamError, Body::Whole(_)) => return vendor.injected(500, None),
        _ => {}
    }
    reply
}

fn fault_cuts(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::ResetAfterHeaders
            | Fault::StallBody(_)
            | Fault::HalfStream
            | Fault::CutStream
            | Fault::Truncated
    )
}

fn steps(frames: Vec<Bytes>, fault: &Fault, vendor: Vendor, pace: Duration) -> VecDeque<Step> {
    let half = frames.len() / 2;
    let sends = |frames: &[Bytes], pause: Duration| {
        let mut steps = Vec::new();
        for frame in frames {
            steps.push(Step::Send(frame.clone()));
            if pause > Duration::ZERO {
                steps.push(Step::Wait(pause));
            }
        }
        steps
    };
    let mut steps = VecDeque::new();
    match fault {
        Fault::ResetAfterHeaders => steps.extend([Step::Wait(FLUSH_TIME), Step::Reset]),
        Fault::SlowDrip(pause) => steps.extend(sends(&frames, *pause)),
        Fault::StallBody(wait) => {
            steps.extend(sends(&frames[..half], pace));
            steps.push_back(Step::Wait(*wait));
            steps.extend(sends(&frames[half..], pace));
        }
        Fault::HalfStream | Fault::Truncated => steps.extend(sends(&frames[..half], pace)),
        Fault::CutStream => {
            steps.extend(sends(&frames[..half], pace));
            steps.extend([Step::Wait(FLUSH_TIME), Step::Cut]);
        }
        Fault::StreamError => {
            steps.extend(sends(&frames[..half], pace));
            steps.push_back(Step::Send(vendor.stream_error().into()));
        }
        Fault::HugeBody(bytes) => {
            steps.extend(sends(&frames[..frames.len().min(1)], pace));
            steps.push_back(Step::Fill(*bytes));
        }
        _ => steps.extend(sends(&frames, pace)),
    }
    steps
}

/// What a body does next.
enum Part {
    Data(Bytes),
    Reset,
    Cut,
}

async fn send(mut steps: VecDeque<Step>, sender: mpsc::Sender<Part>) {
    while let Some(step) = steps.pop_front() {
        match step {
            Step::Send(bytes) => {
                if sender.send(Part::Data(bytes)).await.is_err() {
                    return;
                }
            }
            Step::Wait(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = sender.closed() => return,
                }
            }
            Step::Fill(mut left) => {
                while left > 0 {
                    let piece = left.min(HUGE_PIECE);
                    left -= piece;
                    let filler = vec![b'x'; piece as usize];
                    if sender.send(Part::Data(filler.into())).await.is_err() {
                        return;
                    }
                }
            }
            // A client that is gone needs no breaking.
            Step::Reset => {
                let _ = sender.send(Part::Reset).await;
                return sender.closed().await;
            }
            Step::Cut => {
                let _ = sender.send(Part::Cut).await;
            }
        }
    }
}

fn halves(bytes: &Bytes) -> Vec<Bytes> {
    let half = bytes.len() / 2;
    vec![bytes.slice(..half), bytes.slice(half..)]
}

fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    (0..bytes.len())
        .step_by(DRIP_BYTES)
        .map(|start| bytes.slice(start..bytes.len().min(start + DRIP_BYTES)))
        .collect()
}

/// A body that tells the log whether it was sent to its end.
struct Sent {
    source: Source,
    open: Option<OpenRequest>,
}

enum Source {
    Whole(Option<Bytes>),
    Channel(mpsc::Receiver<Part>, Arc<Connection>),
}

impl Sent {
    fn whole(bytes: Bytes, mut open: OpenRequest) -> Self {
        if bytes.is_empty() {
            // hyper does not ask an empty body for its end.
            open.end(Outcome::Delivered);
        }
        Self {
            source: Source::Whole(Some(bytes)),
            open: Some(open),
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(mut open) = self.open.take() {
            open.end(outcome);
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.source {
            Source::Whole(bytes) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                self.end(Outcome::Delivered);
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Channel(receiver, connection) => match receiver.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Part::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Part::Reset)) => {
                    connection.reset();
                    self.end(Outcome::Cut);
                    Poll::Pending
                }
                Poll::Ready(Some(Part::Cut)) => {
                    self.end(Outcome::Cut);
                    Poll::Ready(Some(Err(io::Error::other("cut by a fault"))))
                }
                Poll::Ready(None) => {
                    self.end(Outcome::Delivered);
                    Poll::Ready(None)
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Channel(..) => SizeHint::default(),
        }
    }
}
