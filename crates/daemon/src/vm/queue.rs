//! Which request a VM accepts, and in which order: policy only, no locks, no waiting.
//!
//! A VM does one thing at a time. What is asked meanwhile is judged at once against the state
//! the VM will be in when everything before it is done:
//!
//! | asked ╲ expected | running | stopped, error | being made | being deleted |
//! |---|---|---|---|---|
//! | start  | already so | accept | already so | denied |
//! | stop   | accept | already so | denied | denied |
//! | delete | accept | accept | accept | already so |
//!
//! "Already so" is answered at once when the VM rests; while it is still on its way, the
//! request waits its turn, so that its answer is true. Two requests cut short what is under
//! way: a deletion everything, a stop a start. A deletion also drops what waits before it.

use std::collections::VecDeque;

/// Where a VM rests between two pieces of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Commands run.
    Running,
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
    /// Bring it down.
    Stop,
    /// Remove it.
    Delete,
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
}

/// Answer to a request; the payload of one that does not wait comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<T> {
    /// It waits its turn.
    Accepted {
        /// What is under way has to be cut short for it.
        interrupt: bool,
        /// Payloads of requests that will not be done because of it.
        dropped: Vec<T>,
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
    doing: Option<Work>,
    waiting: VecDeque<(Request, T)>,
}

impl<T> Queue<T> {
    /// The queue of a VM that is being made.
    #[must_use]
    pub fn creating() -> Self {
        Self { rest: Rest::Gone, doing: Some(Work::Create), waiting: VecDeque::new() }
    }

    /// The queue of a VM that rests.
    #[must_use]
    pub fn resting(rest: Rest) -> Self {
        Self { rest, doing: None, waiting: VecDeque::new() }
    }

    /// Judges a request and, if accepted, puts it at the end.
    pub fn push(&mut self, request: Request, payload: T) -> Admission<T> {
        let last = self.waiting.back().map(|(request, _)| Work::Request(*request)).or(self.doing);
        let expected = match last {
            // From there no request leads back.
            _ if self.is_gone() => Rest::Gone,
            Some(last) => leads_to(last),
            None => self.rest,
        };
        if request != Request::Delete {
            if expected == Rest::Gone {
                return Admission::Denied(payload, Denied::BeingDeleted);
            }
            if request == Request::Stop && self.doing == Some(Work::Create) {
                return Admission::Denied(payload, Denied::BeingMade);
            }
        }
        if last.is_none() && is_already_so(self.rest, request) {
            return Admission::AlreadySo(payload);
        }
        let dropped = match request {
            Request::Delete if expected != Rest::Gone => {
                self.waiting.drain(..).map(|(_, payload)| payload).collect()
            }
            _ => Vec::new(),
        };
        let interrupt = self.doing.is_some_and(|work| interrupts(work, request));
        self.waiting.push_back((request, payload));
        Admission::Accepted { interrupt, dropped }
    }

    /// Takes the first request that waits, unless something is under way.
    pub fn take(&mut self) -> Option<Next<T>> {
        if self.doing.is_some() {
            return None;
        }
        let (request, payload) = self.waiting.pop_front()?;
        if is_already_so(self.rest, request) {
            return Some(Next::AlreadySo(payload));
        }
        if self.is_gone() {
            return Some(Next::Denied(payload, Denied::BeingDeleted));
        }
        self.doing = Some(Work::Request(request));
        Some(Next::Do(request, payload))
    }

    /// Says where the VM rests: what was under way has ended, or it went down by itself.
    pub fn settle(&mut self, rest: Rest) {
        self.rest = rest;
        self.doing = None;
    }

    /// Whether nothing is left of the VM, so that nothing will ever be done again.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.rest == Rest::Gone && self.doing.is_none()
    }
}

/// Where work ends when it ends well.
fn leads_to(work: Work) -> Rest {
    match work {
        Work::Create | Work::Request(Request::Start) => Rest::Running,
        Work::Request(Request::Stop) => Rest::Down,
        Work::Request(Request::Delete) => Rest::Gone,
    }
}

fn is_already_so(rest: Rest, request: Request) -> bool {
    rest == leads_to(Work::Request(request))
}

/// Whether a request cuts short what is under way.
#[must_use]
pub fn interrupts(doing: Work, request: Request) -> bool {
    match request {
        Request::Start => false,
        Request::Stop => doing == Work::Request(Request::Start),
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
        let mut running = Queue::resting(Rest::Running);
        assert_eq!(running.push(Request::Start, 1), Admission::AlreadySo(1));
        let accepted = Admission::Accepted { interrupt: false, dropped: vec![] };
        assert_eq!(running.push(Request::Stop, 2), accepted);
        assert_eq!(running.push(Request::Start, 3), accepted);
        // A deletion drops what waits and ends what is under way.
        assert_eq!(running.take(), Some(Next::Do(Request::Stop, 2)));
        let deletion = Admission::Accepted { interrupt: true, dropped: vec![3] };
        assert_eq!(running.push(Request::Delete, 4), deletion);
        assert_eq!(running.push(Request::Start, 5), Admission::Denied(5, Denied::BeingDeleted));
        // A second deletion waits for the first, and then it is so.
        assert!(matches!(running.push(Request::Delete, 6), Admission::Accepted { .. }));
        running.settle(Rest::Down);
        assert_eq!(running.take(), Some(Next::Do(Request::Delete, 4)));
        running.settle(Rest::Gone);
        assert_eq!(running.take(), Some(Next::AlreadySo(6)));
        // Who waited for a creation that came to nothing waits for nothing.
        let mut created = Queue::creating();
        assert_eq!(created.push(Request::Start, 1), accepted);
        created.settle(Rest::Gone);
        assert_eq!(created.take(), Some(Next::Denied(1, Denied::BeingDeleted)));
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
        let ask = prop::sample::select(vec![Request::Start, Request::Stop, Request::Delete]);
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

        fn judge(&self, request: Request) -> &'static str {
            let idle = !self.busy && self.line.is_empty();
            match request {
                Request::Delete if idle && self.gone => "already",
                Request::Delete => "accept",
                _ if self.deleted_in_the_end() => "denied",
                Request::Stop if self.creating => "denied",
                Request::Start if idle && self.running => "already",
                Request::Stop if idle && !self.running => "already",
                _ => "accept",
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(created: bool, inputs in inputs()) {
            let mut queue =
                if created { Queue::creating() } else { Queue::resting(Rest::Running) };
            let mut model = Model {
                running: !created, gone: created, busy: created, creating: created, line: vec![],
            };
            let mut answered = vec![];
            let mut asked = 0;
            for input in inputs {
                match input {
                    Input::Ask(request) => {
                        let expected = model.judge(request);
                        asked += 1;
                        let first_deletion = request == Request::Delete && !model.deleted_in_the_end();
                        match queue.push(request, asked) {
                            Admission::Accepted { interrupt, dropped } => {
                                prop_assert_eq!(expected, "accept");
                                // The one under way stays, whatever comes.
                                let kept = usize::from(model.busy && !model.creating);
                                let waiting = if first_deletion { model.line.split_off(kept) } else { vec![] };
                                let waiting: Vec<_> = waiting.into_iter().map(|(_, n)| n).collect();
                                prop_assert_eq!(&dropped, &waiting);
                                answered.extend(dropped);
                                let doing = model.line.first().filter(|_| kept == 1).map(|(r, _)| *r);
                                let cut = match request {
                                    Request::Start => false,
                                    Request::Stop => doing == Some(Request::Start),
                                    Request::Delete => model.busy && doing != Some(Request::Delete),
                                };
                                prop_assert_eq!(interrupt, cut);
                                model.line.push((request, asked));
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
                            prop_assert!(model.gone && !model.busy);
                            let (request, first) = model.line.remove(0);
                            prop_assert_eq!(first, n);
                            prop_assert_ne!(request, Request::Delete);
                            answered.push(n);
                        }
                        Some(Next::AlreadySo(n)) => {
                            prop_assert!(!model.busy);
                            let (request, first) = model.line.remove(0);
                            prop_assert_eq!(first, n);
                            let so = match request {
                                Request::Start => model.running,
                                Request::Stop => !model.running && !model.gone,
                                Request::Delete => model.gone,
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
                            (None | Some(Request::Start), true) => Rest::Running,
                            (None, false) | (Some(Request::Delete), true) => Rest::Gone,
                            _ => Rest::Down,
                        };
                        model.running = rest == Rest::Running;
                        model.gone = rest == Rest::Gone;
                        queue.settle(rest);
                    }
                    Input::PowerOff if !model.busy && model.running => {
                        model.running = false;
                        queue.settle(Rest::Down);
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
