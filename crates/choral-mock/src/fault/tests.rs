use std::time::Duration;

use super::{Fault, Plan, RetryHint, Script};

const ALL: [&str; 21] = [
    "ok",
    "429",
    "503;retry-after=2",
    "429;retry-after-date=3",
    "429;retry-after-ms=150",
    "reset",
    "close",
    "reset-after-headers",
    "stall=1.5",
    "stall-body=2",
    "half-stream",
    "cut-stream",
    "stream-error",
    "malformed-json",
    "wrong-content-type",
    "truncated",
    "redirect=307",
    "slow-drip=0.05",
    "huge-body=1000000",
    "echo-key",
    "529",
];

#[test]
fn every_fault_is_written_as_it_is_read() {
    for text in ALL {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_fault_is_refused_with_its_name() {
    for (text, message) in [
        ("", "unknown fault ``"),
        ("nonsense", "unknown fault `nonsense`"),
        ("200", "unknown fault `200`"),
        ("429;later=1", "unknown fault `429;later=1`"),
        (
            "429;retry-after=soon",
            "fault `retry-after` with `soon`, expected a whole number",
        ),
        (
            "stall",
            "fault `stall` with ``, expected seconds, at most a day",
        ),
        (
            "stall=-1",
            "fault `stall` with `-1`, expected seconds, at most a day",
        ),
        (
            "stall=nan",
            "fault `stall` with `nan`, expected seconds, at most a day",
        ),
        (
            "redirect=200",
            "fault `redirect` with `200`, expected 301, 302, 303, 307 or 308",
        ),
        (
            "huge-body=-4",
            "fault `huge-body` with `-4`, expected a number of bytes",
        ),
    ] {
        assert_eq!(text.parse::<Fault>().unwrap_err().to_string(), message);
    }
}

#[test]
fn a_script_runs_attempt_by_attempt() {
    let script: Script = "429*2, reset,ok,503*".parse().unwrap();
    let faults: Vec<String> = (0..7)
        .map(|attempt| script.at(attempt).to_string())
        .collect();
    assert_eq!(faults, ["429", "429", "reset", "ok", "503", "503", "503"]);
    let once: Script = "429;retry-after-ms=5".parse().unwrap();
    assert_eq!(once.at(0), Fault::Status(429, Some(RetryHint::Millis(5))));
    assert_eq!(once.at(1), Fault::Ok);
    assert!("429*many".parse::<Script>().is_err());
}

#[test]
fn a_prompt_brings_its_script() {
    let script = Script::in_text("say [[mock:words=9]] and [[mock:stall=2,429]] please");
    assert_eq!(
        script.unwrap().unwrap().at(0),
        Fault::Stall(Duration::from_secs(2))
    );
    assert!(Script::in_text("no marker, [[mock:unfinished").is_none());
    assert!(Script::in_text("[[mock:tyop]]").unwrap().is_err());
}

#[test]
fn random_faults_repeat_with_their_seed_and_come_as_often_as_asked() {
    let plan = |seed| Plan {
        seed,
        random: Some((0.2, vec![Fault::Reset, Fault::Status(500, None)])),
        ..Plan::default()
    };
    let run = |seed| -> Vec<Fault> {
        (0..2000)
            .map(|key| plan(seed).at("/v1", &format!("key {key}"), 0))
            .collect()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let failed = run(1).iter().filter(|fault| **fault != Fault::Ok).count();
    let resets = run(1)
        .iter()
        .filter(|fault| **fault == Fault::Reset)
        .count();
    // Five standard deviations of a binomial distribution around the mean.
    assert!((310..=490).contains(&failed), "{failed}");
    assert!((130..=270).contains(&resets), "{resets}");
}

#[test]
fn faults_keep_to_their_paths() {
    let script = "500*".parse().unwrap();
    let plan = Plan {
        script,
        paths: vec!["/batches".into()],
        ..Plan::default()
    };
    assert_eq!(plan.at("/v1/batches/1", "", 0), Fault::Status(500, None));
    assert_eq!(plan.at("/v1/models", "", 0), Fault::Ok);
}
