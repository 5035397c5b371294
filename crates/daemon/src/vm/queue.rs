//! Which request a VM accepts, and in which order: policy only, no locks, no waiting.
//!
//! A VM does one thing at a time. What is asked meanwhile is judged at once against the state
//! the VM will be in when everything before it is done:
//!
//! | asked ╲ expected | running | paused | stopped, error | being made | being deleted |
//! |---|---|---|---|---|---|
//! | start  | already so | accept | accept | already so | denied |
//! | pause  | accept | already so | denied | denied | denied |
//! | resume | already so | accept | denied | already so | denied |
//! | stop, kill | accept | accept | already so | denied | denied |
//! | delete | accept | accept | accept | accept | already so |
//! | prune  | denied | denied | accept, if nothing is under way | denied | already so |
//! | set, restore | accept | accept | accept | denied | denied |
//!
//! "Already so" is answered at once when the VM rests; while it is still on its way, the
//! request waits its turn, so that its answer is true.
//!
//! A VM that rests because nobody used it is not yet as somebody asks who wants it paused or down: it
//! would be woken. So that is accepted, and from then on it is so.
//!
//! The later request wins. What is under way is cut short by a deletion whatever it is, a start
//! by a stop, a start and a stop by a kill. Of what waits, a deletion drops everything; a stop
//! and a kill drop the starts, and a kill goes before the stops. A prune never cuts or drops
//! anything: it is the deletion of a VM of which nobody wants anything. A set leads nowhere: the
//! VM rests where it did. It cuts and drops nothing, and is cut short itself by a kill and a
//! deletion, since it may wait for a guest that does not answer.

use std::collections::VecDeque;

/// Where a VM rests between two pieces of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Commands run.
    Running,
    /// They would, if the guest did not stand still.
    Paused,
    /// No VMM; stopped, or in error.
    Down,
    /// Deleted, or never made: nothing is left.
    Gone,
}

/// What a VM can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Boot it.
    Start,
    /// Have it stand still.
    Pause,
    /// Have it go on.
    Resume,
    /// Bring it down.
    Stop,
    /// Bring it down without asking its guest.
    Kill,
    /// Remove it.
    Delete,
    /// Remove it if it is down. Once accepted, it is a [`Delete`](Self::Delete).
    Prune,
    /// Change what it is, or write down what it is.
    Set,
    /// Take it back to what it was.
    Restore,
}

/// What a VM is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Being made.
    Create,
    /// Doing a request.
    Request(Request),
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Something unfinished cannot be stopped and kept.
    #[error("it is still being made")]
    BeingMade,
    /// Nothing can be done with what goes away.
    #[error("it is being deleted")]
    BeingDeleted,
    /// What was asked later leads elsewhere.
    #[error("it was asked to be down in the meantime")]
    Overtaken,
    /// Only one that runs can stand still, and only one that stands still can go on.
    #[error("it does not run")]
    NotRunning,
    /// Only one that is down and left alone is pruned.
    #[error("it is not down any more")]
    NotDown,
}

/// Answer to a request; the payload of one that does not wait comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<T> {
    /// It waits its turn.
    Accepted {
        /// What is under way has to be cut short for it.
        interrupt: bool,
        /// Payloads of requests that will not be done because of it, and what to answer.
        dropped: Vec<(T, Denied)>,
    },
    /// Nothing has to be done.
    AlreadySo(T),
    /// It will not be done.
    Denied(T, Denied),
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This; the queue counts it as under way until [`Queue::settle`].
    Do(Request, T),
    /// Nothing: meanwhile it is so.
    AlreadySo(T),
    /// Nothing: meanwhile it cannot be done any more.
    Denied(T, Denied),
}

/// The requests of one VM.
#[derive(Debug)]
pub struct Queue<T> {
    rest: Rest,
    /// Whether it rests so because nobody used it.
    asleep: bool,
    doing: Option<Work>,
    waiting: VecDeque<(Request, T)>,
}

impl<T> Queue<T> {
    /// The queue of a VM that is being made.
    #[must_use]
    pub fn creating() -> Self {
        let waiting = VecDeque::new();
        Self { rest: Rest::Gone, asleep: false, doing: Some(Work::Create), waiting }
    }

    /// The queue of a VM that rests; `asleep` where that is because nobody used it.
    #[must_use]
    pub fn resting(rest: Rest, asleep: bool) -> Self {
        Self { rest, asleep, doing: None, waiting: VecDeque::new() }
    }

    /// Judges a request and, if accepted, puts it at the end.
    pub fn push(&mut self, request: Request, payload: T) -> Admission<T> {
        let last = self.waiting.back().map(|(request, _)| Work::Request(*request)).or(self.doing);
        let ahead = self.waiting.iter().rev().map(|(request, _)| Work::Request(*request));
        let expected = if self.is_gone() {
            // From there no request leads back.
            Rest::Gone
        } else {
            ahead.chain(self.doing).find_map(leads_to).unwrap_or(self.rest)
        };
        let creating = self.doing == Some(Work::Create);
        let request = match request {
            Request::Prune if expected != Rest::Gone => {
                if last.is_some() || expected != Rest::Down {
                    return Admission::Denied(payload, Denied::NotDown);
                }
                Request::Delete
            }
            Request::Prune => Request::Delete,
            Request::Delete => Request::Delete,
            _ if expected == Rest::Gone => {
                return Admission::Denied(payload, Denied::BeingDeleted);
            }
            Request::Pause | Request::Stop | Request::Kill | Request::Set | Request::Restore
                if creating =>
            {
                return Admission::Denied(payload, Denied::BeingMade);
            }
            Request::Pause | Request::Resume if expected == Rest::Down => {
                return Admission::Denied(payload, Denied::NotRunning);
            }
            request => request,
        };
        if last.is_none() && self.is_already_so(request) {
            return Admission::AlreadySo(payload);
        }
        let dropped = match request {
            Request::Delete if expected != Rest::Gone => self.drop_waiting(Denied::BeingDeleted),
            Request::Stop | Request::Kill => self.drop_starts(),
            _ => Vec::new(),
        };
        let interrupt = self.doing.is_some_and(|work| interrupts(work, request));
        match request {
            // By now only what brings down waits, which is so when the kill is done, and sets.
            Request::Kill => self.waiting.push_front((request, payload)),
            _ => self.waiting.push_back((request, payload)),
        }
        Admission::Accepted { interrupt, dropped }
    }

    fn drop_waiting(&mut self, why: Denied) -> Vec<(T, Denied)> {
        self.waiting.drain(..).map(|(_, payload)| (payload, why)).collect()
    }

    fn drop_starts(&mut self) -> Vec<(T, Denied)> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (starts, others) = waiting.partition(|(request, _)| *request == Request::Start);
        self.waiting = others;
        let starts: VecDeque<_> = starts;
        starts.into_iter().map(|(_, payload)| (payload, Denied::Overtaken)).collect()
    }

    /// Takes the first request that waits, unless something is under way.
    pub fn take(&mut self) -> Option<Next<T>> {
        if self.doing.is_some() {
            return None;
        }
        let (request, payload) = self.waiting.pop_front()?;
        if self.is_already_so(request) {
            return Some(Next::AlreadySo(payload));
        }
        if self.is_gone() {
            return Some(Next::Denied(payload, Denied::BeingDeleted));
        }
        if matches!(request, Request::Pause | Request::Resume) && self.rest == Rest::Down {
            return Some(Next::Denied(payload, Denied::NotRunning));
        }
        self.doing = Some(Work::Request(request));
        Some(Next::Do(request, payload))
    }

    /// Says where the VM rests: what was under way has ended, or it went down by itself. `asleep` is as
    /// in [`resting`](Self::resting).
    pub fn settle(&mut self, rest: Rest, asleep: bool) {
        (self.rest, self.asleep) = (rest, asleep);
        self.doing = None;
    }

    fn is_already_so(&self, request: Request) -> bool {
        let by_hand = matches!(request, Request::Pause | Request::Stop | Request::Kill);
        leads_to(Work::Request(request)) == Some(self.rest) && !(self.asleep && by_hand)
    }

    /// Whether nothing is left of the VM, so that nothing will ever be done again.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.rest == Rest::Gone && self.doing.is_none()
    }
}

/// Where work ends when it ends well; none when it ends where it began.
fn leads_to(work: Work) -> Option<Rest> {
    match work {
        Work::Create | Work::Request(Request::Start | Request::Resume) => Some(Rest::Running),
        Work::Request(Request::Pause) => Some(Rest::Paused),
        Work::Request(Request::Stop | Request::Kill) => Some(Rest::Down),
        Work::Request(Request::Delete | Request::Prune) => Some(Rest::Gone),
        // Where a restore leads, the snapshot says.
        Work::Request(Request::Set | Request::Restore) => None,
    }
}

/// Whether a request cuts short what is under way.
#[must_use]
pub fn interrupts(doing: Work, request: Request) -> bool {
    match request {
        Request::Start
        | Request::Prune
        | Request::Set
        | Request::Restore
        | Request::Pause
        | Request::Resume => false,
        Request::Stop => doing == Work::Request(Request::Start),
        Request::Kill => {
            matches!(
                doing,
                Work::Request(Request::Start | Request::Stop | Request::Set | Request::Restore)
            )
        }
        Request::Delete => doing != Work::Request(Request::Delete),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_holds() {
        type Outcome = Result<bool, Denied>;
        let judge = |mut queue: Queue<()>, request| -> Outcome {
            match queue.push(request, ()) {
                Admission::Accepted { interrupt, .. } => Ok(interrupt),
                Admission::AlreadySo(()) => Ok(false),
                Admission::Denied((), why) => Err(why),
            }
        };
        assert_eq!(judge(Queue::creating(), Request::Stop), Err(Denied::BeingMade));
        assert_eq!(judge(Queue::creating(), Request::Delete), Ok(true));
        assert_eq!(judge(Queue::creating(), Request::Start), Ok(false));
        let mut running = Queue::resting(Rest::Running, false);
        assert_eq!(running.push(Request::Start, 1), Admission::AlreadySo(1));
        let accepted = Admission::Accepted { interrupt: false, dropped: vec![] };
        assert_eq!(running.push(Request::Stop, 2), accepted);
        assert_eq!(running.push(Request::Start, 3), accepted);
        // A deletion drops what waits and ends what is under way.
        assert_eq!(running.take(), Some(Next::Do(Request::Stop, 2)));
        let dropped = vec![(3, Denied::BeingDeleted)];
        let deletion = Admission::Accepted { interrupt: true, dropped };
        assert_eq!(running.push(Request::Delete, 4), deletion);
        assert_eq!(running.push(Request::Start, 5), Admission::Denied(5, Denied::BeingDeleted));
        // A second deletion waits for the first, and then it is so.
        assert!(matches!(running.push(Request::Delete, 6), Admission::Accepted { .. }));
        running.settle(Rest::Down, false);
        assert_eq!(running.take(), Some(Next::Do(Request::Delete, 4)));
        running.settle(Rest::Gone, false);
        assert_eq!(running.take(), Some(Next::AlreadySo(6)));
        // Who waited for a creation that came to nothing waits for nothing.
        let mut created = Queue::creating();
        assert_eq!(created.push(Request::Start, 1), accepted);
        created.settle(Rest::Gone, false);
        assert_eq!(created.take(), Some(Next::Denied(1, Denied::BeingDeleted)));
    }

    #[test]
    fn a_kill_ends_a_stop_and_whoever_waits_for_it() {
        let mut queue = Queue::resting(Rest::Running, false);
        let accepted = Admission::Accepted { interrupt: false, dropped: vec![] };
        assert_eq!(queue.push(Request::Stop, 1), accepted);
        assert_eq!(queue.take(), Some(Next::Do(Request::Stop, 1)));
        assert_eq!(queue.push(Request::Stop, 2), accepted);
        assert_eq!(queue.push(Request::Start, 3), accepted);
        let kill = Admission::Accepted { interrupt: true, dropped: vec![(3, Denied::Overtaken)] };
        assert_eq!(queue.push(Request::Kill, 4), kill);
        // Should the guest not be down in spite of all, the kill comes before the other stop.
        queue.settle(Rest::Running, false);
        assert_eq!(queue.take(), Some(Next::Do(Request::Kill, 4)));
        queue.settle(Rest::Down, false);
        assert_eq!(queue.take(), Some(Next::AlreadySo(2)));
    }

    #[test]
    fn only_what_is_down_and_left_alone_is_pruned() {
        let accepted = Admission::Accepted { interrupt: false, dropped: vec![] };
        let denied = |n| Admission::Denied(n, Denied::NotDown);
        assert_eq!(Queue::creating().push(Request::Prune, 1), denied(1));
        assert_eq!(Queue::resting(Rest::Running, false).push(Request::Prune, 1), denied(1));
        let mut queue = Queue::resting(Rest::Down, false);
        assert_eq!(queue.push(Request::Start, 1), accepted);
        assert_eq!(queue.push(Request::Prune, 2), denied(2));
        let mut queue = Queue::resting(Rest::Down, false);
        assert_eq!(queue.push(Request::Prune, 1), accepted);
        // From then on it is a deletion like others.
        assert_eq!(queue.push(Request::Prune, 2), accepted);
        assert_eq!(queue.take(), Some(Next::Do(Request::Delete, 1)));
        queue.settle(Rest::Gone, false);
        assert_eq!(queue.take(), Some(Next::AlreadySo(2)));
        assert_eq!(queue.push(Request::Prune, 3), Admission::AlreadySo(3));
    }

    #[test]
    fn a_set_waits_its_turn_and_changes_nobody_elses() {
        let accepted = || Admission::Accepted { interrupt: false, dropped: vec![] };
        assert_eq!(
            Queue::creating().push(Request::Set, 1),
            Admission::Denied(1, Denied::BeingMade)
        );
        let mut queue = Queue::resting(Rest::Running, false);
        assert_eq!(queue.push(Request::Stop, 1), accepted());
        assert_eq!(queue.push(Request::Set, 2), accepted());
        // Behind a set that leaves it running, and a stop that does not, a start is work.
        assert_eq!(queue.push(Request::Start, 3), accepted());
        assert_eq!(queue.take(), Some(Next::Do(Request::Stop, 1)));
        queue.settle(Rest::Down, false);
        assert_eq!(queue.take(), Some(Next::Do(Request::Set, 2)));
        assert_eq!(queue.push(Request::Prune, 4), Admission::Denied(4, Denied::NotDown));
        queue.settle(Rest::Down, false);
        assert_eq!(queue.take(), Some(Next::Do(Request::Start, 3)));
        queue.settle(Rest::Running, false);
        // A guest that does not answer keeps nobody from killing it.
        assert_eq!(queue.push(Request::Set, 5), accepted());
        assert_eq!(queue.take(), Some(Next::Do(Request::Set, 5)));
        assert_eq!(queue.push(Request::Stop, 6), accepted());
        let kill = Admission::Accepted { interrupt: true, dropped: vec![] };
        assert_eq!(queue.push(Request::Kill, 7), kill);
        queue.settle(Rest::Running, false);
        assert_eq!(
            queue.push(Request::Delete, 8),
            Admission::Accepted {
                interrupt: false,
                dropped: vec![(7, Denied::BeingDeleted), (6, Denied::BeingDeleted)],
            }
        );
        assert_eq!(queue.push(Request::Set, 9), Admission::Denied(9, Denied::BeingDeleted));
    }

    #[test]
    fn who_wants_a_sleeping_vm_at_rest_has_it_stay_so() {
        for (rest, request) in [
            (Rest::Paused, Request::Pause),
            (Rest::Down, Request::Stop),
            (Rest::Down, Request::Kill),
        ] {
            assert_eq!(Queue::resting(rest, false).push(request, 1), Admission::AlreadySo(1));
            let mut queue = Queue::resting(rest, true);
            let accepted = Admission::Accepted { interrupt: false, dropped: vec![] };
            assert_eq!(queue.push(request, 1), accepted);
            assert_eq!(queue.push(request, 2), accepted);
            assert!(matches!(queue.take(), Some(Next::Do(done, _)) if done == request));
            queue.settle(rest, false);
            assert!(matches!(queue.take(), Some(Next::AlreadySo(_))));
        }
        // Who wants nothing of it but that it goes has it so.
        let mut queue = Queue::resting(Rest::Down, true);
        assert!(matches!(queue.push(Request::Prune, 1), Admission::Accepted { .. }));
    }

    #[derive(Debug, Clone, Copy)]
    enum Input {
        Ask(Request),
        Next,
        /// The work under way ends, well or not.
        End {
            well: bool,
        },
        /// The guest powers off while nothing is under way.
        PowerOff,
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let requests = [
            Request::Start,
            Request::Stop,
            Request::Kill,
            Request::Delete,
            Request::Prune,
            Request::Set,
            Request::Restore,
            Request::Pause,
            Request::Resume,
        ];
        let ask = prop::sample::select(requests.to_vec());
        prop::collection::vec(
            prop_oneof![
                4 => ask.prop_map(Input::Ask),
                3 => Just(Input::Next),
                3 => any::<bool>().prop_map(|well| Input::End { well }),
                1 => Just(Input::PowerOff),
            ],
            0..60,
        )
    }

    /// The same policy as a list of everything that was accepted and not finished, its first
    /// element being under way if `busy`, judged by looking at the whole list.
    struct Model {
        running: bool,
        paused: bool,
        gone: bool,
        busy: bool,
        creating: bool,
        line: Vec<(Request, u32)>,
    }

    impl Model {
        fn deleted_in_the_end(&self) -> bool {
            let deleting = self.line.iter().any(|(request, _)| *request == Request::Delete);
            deleting || (self.gone && !self.creating)
        }

        /// Whether it will stand still or run, or be down, once all that is in line is done.
        fn in_the_end(&self) -> Rest {
            let now = match (self.running || self.creating, self.paused) {
                (true, _) => Rest::Running,
                (_, true) => Rest::Paused,
                _ => Rest::Down,
            };
            self.line.iter().fold(now, |rest, (request, _)| match request {
                Request::Start | Request::Resume => Rest::Running,
                Request::Pause => Rest::Paused,
                Request::Stop | Request::Kill => Rest::Down,
                _ => rest,
            })
        }

        fn judge(&self, request: Request) -> &'static str {
            let idle = !self.busy && self.line.is_empty();
            match request {
                Request::Delete | Request::Prune if idle && self.gone => "already",
                Request::Prune if self.deleted_in_the_end() => "accept",
                Request::Prune if !idle || self.running || self.paused => "denied",
                Request::Delete | Request::Prune => "accept",
                _ if self.deleted_in_the_end() => "denied",
                Request::Stop
                | Request::Kill
                | Request::Set
                | Request::Restore
                | Request::Pause
                    if self.creating =>
                {
                    "denied"
                }
                Request::Start | Request::Resume if idle && self.running => "already",
                Request::Pause if idle && self.paused => "already",
                Request::Stop | Request::Kill if idle && !self.running && !self.paused => "already",
                Request::Pause | Request::Resume if self.in_the_end() == Rest::Down => "denied",
                _ => "accept",
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(created: bool, inputs in inputs()) {
            let mut queue =
                if created { Queue::creating() } else { Queue::resting(Rest::Running, false) };
            let mut model = Model {
                running: !created,
                paused: false,
                gone: created,
                busy: created,
                creating: created,
                line: vec![],
            };
            let mut answered = vec![];
            let mut asked = 0;
            for input in inputs {
                match input {
                    Input::Ask(request) => {
                        let expected = model.judge(request);
                        asked += 1;
                        let deletion = matches!(request, Request::Delete | Request::Prune);
                        let first_deletion = deletion && !model.deleted_in_the_end();
                        match queue.push(request, asked) {
                            Admission::Accepted { interrupt, dropped } => {
                                prop_assert_eq!(expected, "accept");
                                // The one under way stays, whatever comes.
                                let kept = usize::from(model.busy && !model.creating);
                                let downward = matches!(request, Request::Stop | Request::Kill);
                                let waiting = model.line.split_off(kept);
                                let (unwanted, wanted): (Vec<_>, _) = waiting.into_iter().partition(
                                    |(r, _)| first_deletion || downward && *r == Request::Start,
                                );
                                model.line.extend(wanted);
                                let unwanted: Vec<_> = unwanted.into_iter().map(|(_, n)| n).collect();
                                let dropped: Vec<_> = dropped.into_iter().map(|(n, _)| n).collect();
                                prop_assert_eq!(&dropped, &unwanted);
                                answered.extend(dropped);
                                let doing = model.line.first().filter(|_| kept == 1).map(|(r, _)| *r);
                                let cut = match request {
                                    Request::Start | Request::Set | Request::Restore => false,
                                    Request::Pause | Request::Resume => false,
                                    Request::Stop => doing == Some(Request::Start),
                                    Request::Kill => [Request::Start, Request::Stop, Request::Set, Request::Restore]
                                        .map(Some)
                                        .contains(&doing),
                                    // A prune only gets here behind a deletion, which has cut it already.
                                    Request::Delete | Request::Prune => {
                                        model.busy && doing != Some(Request::Delete)
                                    }
                                };
                                prop_assert_eq!(interrupt, cut);
                                match request {
                                    Request::Kill => model.line.insert(kept, (request, asked)),
                                    Request::Prune => model.line.push((Request::Delete, asked)),
                                    _ => model.line.push((request, asked)),
                                }
                            }
                            Admission::AlreadySo(n) => {
                                prop_assert_eq!(expected, "already");
                                answered.push(n);
                            }
                            Admission::Denied(n, _) => {
                                prop_assert_eq!(expected, "denied");
                                answered.push(n);
                            }
                        }
                    }
                    Input::Next => match queue.take() {
                        None => prop_assert!(model.busy || model.line.is_empty()),
                        Some(Next::Do(request, n)) => {
                            prop_assert!(!model.busy);
                            prop_assert_eq!(model.line[0], (request, n));
                            model.busy = true;
                        }
                        Some(Next::Denied(n, _)) => {
                            let (request, first) = model.line.remove(0);
                            prop_assert_eq!(first, n);
                            let still = matches!(request, Request::Pause | Request::Resume);
                            let down = !model.running && !model.paused;
                            prop_assert!(!model.busy && (model.gone || still && down));
                            prop_assert_ne!(request, Request::Delete);
                            answered.push(n);
                        }
                        Some(Next::AlreadySo(n)) => {
                            prop_assert!(!model.busy);
                            let (request, first) = model.line.remove(0);
                            prop_assert_eq!(first, n);
                            let so = match request {
                                Request::Start | Request::Resume => model.running,
                                Request::Pause => model.paused,
                                Request::Stop | Request::Kill => {
                                    !model.running && !model.paused && !model.gone
                                }
                                Request::Delete | Request::Prune => model.gone,
                                // There is always something to do, if only to look.
                                Request::Set | Request::Restore => false,
                            };
                            prop_assert!(so);
                            answered.push(n);
                        }
                    },
                    Input::End { well } if model.busy => {
                        let work = if model.creating {
                            None
                        } else {
                            let (request, n) = model.line.remove(0);
                            answered.push(n);
                            Some(request)
                        };
                        model.creating = false;
                        model.busy = false;
                        let rest = match (work, well) {
                            (None | Some(Request::Start | Request::Resume), true) => Rest::Running,
                            (Some(Request::Pause), true) => Rest::Paused,
                            (Some(Request::Resume), false) => Rest::Paused,
                            (Some(Request::Set), _) if model.paused => Rest::Paused,
                            (Some(Request::Pause), false) => Rest::Running,
                            (None, false) | (Some(Request::Delete), true) => Rest::Gone,
                            (Some(Request::Set), _) if model.running => Rest::Running,
                            (Some(Request::Restore), true) => Rest::Running,
                            _ => Rest::Down,
                        };
                        model.running = rest == Rest::Running;
                        model.paused = rest == Rest::Paused;
                        model.gone = rest == Rest::Gone;
                        queue.settle(rest, false);
                    }
                    Input::PowerOff if !model.busy && (model.running || model.paused) => {
                        (model.running, model.paused) = (false, false);
                        queue.settle(Rest::Down, false);
                    }
                    Input::End { .. } | Input::PowerOff => {}
                }
            }
            // Nobody is answered twice, and who is not answered yet still stands in line.
            answered.extend(model.line.iter().map(|(_, n)| *n));
            answered.sort_unstable();
            prop_assert_eq!(answered, (1..=asked).collect::<Vec<_>>());
        }
    }
}
