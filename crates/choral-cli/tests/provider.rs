//! Jobs whose rows a service answers, against a server that speaks the vendors' published
//! protocols and fails on demand.

#[path = "provider/job.rs"]
mod job;

#[path = "provider/live.rs"]
mod live;
#[path = "provider/network.rs"]
mod network;
#[path = "provider/remote.rs"]
mod remote;
#[path = "provider/words.rs"]
mod words;
