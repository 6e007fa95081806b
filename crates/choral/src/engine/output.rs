//! The output thread: tokens to text, and text to readers.
//!
//! It never waits for a reader, nor for the engine: mailboxes take what they are
//! given, and the commands that it sends travel in a channel without a bound.

use super::command::Command;
use super::relay::ReportReceiver;
use super::reply::Reply;
use super::scheduler::RequestId;
use crossbeam_channel::Sender;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs until the engine thread is gone. Replies that are open then end with an
/// error as they are dropped. Reports go back empty, to be filled again.
pub(super) fn run(reports: &ReportReceiver, commands: &Sender<Command>) {
    let mut replies: HashMap<RequestId, Reply> = HashMap::new();
    while let Some(mut report) = reports.receive() {
        for reply in report.opened.drain(..) {
            replies.insert(reply.request(), reply);
        }
        for (request, event) in report.events.drain(..) {
            // Done, and the engine has not heard of it yet.
            let Some(reply) = replies.get_mut(&request) else {
                continue;
            };
            // A tokenizer that panics on one answer must not end all of them. What
            // it left behind is used again only to be ended.
            let taken = catch_unwind(AssertUnwindSafe(|| reply.take(event)));
            let abort = match taken {
                Ok(None) => None,
                Ok(Some(choice)) => Some(Some(choice)),
                Err(_) => {
                    reply.fail("turning tokens into text failed");
                    Some(None)
                }
            };
            if reply.is_done() {
                replies.remove(&request);
            }
            if let Some(choice) = abort {
                // If the engine is gone, there is nothing left to abort.
                let _ = commands.send(Command::Abort { request, choice });
            }
        }
        reports.give_back(report);
    }
}
