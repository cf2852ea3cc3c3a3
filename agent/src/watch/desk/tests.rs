//! What lies on the desk, by itself.

use super::super::learn::Begun;
use super::*;

fn p(path: &str) -> RelPath {
    RelPath::parse_typed(path.as_bytes()).expect("path")
}

/// After which whatever failed once is looked at again.
const RESTED: Duration = Duration::from_secs(2);

fn dirty(path: &str) -> Dirty {
    Dirty { path: p(path), subtree: false }
}

#[test]
fn what_one_session_was_told_is_not_for_the_next() {
    let mut state = State::default();
    let whole = Dirty { path: p(""), subtree: true };
    let ids = state.begin(NO_BATCH, Instant::now(), [(vec![whole], None)].into_iter());
    state.settled(ids[0], &Ok(()));
    state.learned = true;
    state.ended = Some(Ended::Stopped);
    let matched = |dir| Matched { dir: p(dir), missing: BTreeSet::new(), begun: Begun::now() };
    state.learn = vec![matched(""), matched("d")];
    assert_eq!(state.compared, Some(true));
    state.end_session();
    assert!(state.compared.is_none() && !state.learned && state.ended.is_none() && state.learn.is_empty());
    let batch = state.pending.take(Instant::now()).expect("what the inventory did not follow");
    assert_eq!(batch.dirty, [Dirty { path: p("d"), subtree: true }]);
}

#[test]
fn what_fails_after_it_was_renamed_fails_by_its_new_name() {
    let mut state = State::default();
    let now = Instant::now();
    state.pending.look_again(dirty("d/f"), now, Duration::ZERO, now);
    let batch = state.pending.take(now).expect("due");
    let ids = state.begin(batch.id, now, [(vec![dirty("d/f")], Some(p("d/f")))].into_iter());
    state.pending.note(Signal::Renamed { from: p("d"), to: p("e"), dir: true }, now);
    let problem = Problem { path: p("d/f"), text: "no".into(), class: ProblemClass::Path };
    state.settled(ids[0], &Err(problem));
    let failing: Vec<String> = state.failures.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(failing, ["e/f"]);
}

#[test]
fn what_a_comparison_could_not_bring_is_looked_for_where_it_is_now() {
    for batch in [NO_BATCH, 0] {
        let mut state = State::default();
        let now = Instant::now();
        let whole = Dirty { path: p("d"), subtree: true };
        if batch != NO_BATCH {
            state.pending.look_again(whole.clone(), now, Duration::ZERO, now);
            state.pending.take(now).expect("due");
        }
        let ids = state.begin(batch, now, [(vec![whole], None)].into_iter());
        state.pending.note(Signal::Renamed { from: p("d"), to: p("e"), dir: true }, now);
        state.failed(&p("d/x"), ProblemClass::Path, "no", now);
        state.settled(ids[0], &Ok(()));
        let batch = state.pending.take(now + RESTED).expect("due");
        assert!(batch.dirty.contains(&Dirty { path: p("e/x"), subtree: true }), "{:?}", batch.dirty);
    }
}

#[test]
fn a_file_on_its_way_when_the_stream_breaks_is_sent_again() {
    let mut state = State::default();
    let now = Instant::now();
    let closed = |path| Signal::Dirty { path: p(path), why: Why::Closed, dir: false };
    state.pending.note(closed("f"), now);
    let batch = state.pending.take(now).expect("settled");
    state.begin(batch.id, now, [(vec![dirty("f")], Some(p("f")))].into_iter());
    state.pending.note(closed("f"), now);
    assert!(state.pending.take(now).is_none(), "it is on its way");
    state.abandon();
    assert_eq!(state.pending.take(Instant::now()).expect("again").dirty, [dirty("f")]);
}

#[test]
fn a_file_known_to_be_unstable_is_not_read_as_often_again() {
    let mut state = State::default();
    let batch = |state: &mut State| {
        state.look_again(dirty("f"), Instant::now(), Duration::ZERO);
        state.pending.take(Instant::now()).expect("due")
    };
    let readings = |state: &mut State| {
        (1..10).find(|_| {
            state.failures.book(&p("f"), ProblemClass::Unstable, "it changed".into());
            let batch = batch(state);
            state.marked(&batch).restless.contains(&p("f"))
        })
    };
    assert_eq!(readings(&mut state), Some(RESTLESS as usize));
    state.failures.through(&p("f"), false, Instant::now());
    assert!(state.is_unstable(&p("f")) && !state.is_unstable(&p("f")), "it is news once");
    assert_eq!(readings(&mut state), Some(1));
}

#[test]
fn a_failure_that_is_told_by_itself_and_for_its_task_counts_once() {
    let mut state = State::default();
    let now = Instant::now();
    let problem = Problem { path: p("f"), text: "no".into(), class: ProblemClass::Path };
    for count in [1, 2] {
        let ids = state.begin(7, now, [(vec![dirty("f")], Some(p("f")))].into_iter());
        let first = state.failed(&problem.path, problem.class, &problem.text, now);
        assert_eq!(first, count == 1, "only the first in a row is told");
        state.settled(ids[0], &Err(problem.clone()));
        assert_eq!(state.failures.get(&p("f")).map(|failure| failure.count), Some(count));
    }
}
