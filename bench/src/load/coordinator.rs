//! A run from its beginning to its end: topics, backlog, threads, the measured time, and the final accounts.

use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::load::RunOptions;
use crate::load::accounts;
use crate::load::batch::BatchTemplate;
use crate::load::clock::Clock;
use crate::load::consume_session::{self, ConsumePlan};
use crate::load::consumer::{self, Consumer, Group, GroupRecorders, Place};
use crate::load::context::{Context, Slot};
use crate::load::error::LoadError;
use crate::load::live::{LiveView, live_share};
use crate::load::outcome::{Live, Outcome, Phase, Role, Verified};
use crate::load::placement::Placement;
use crate::load::produce_request::ProduceRequests;
use crate::load::produce_session::{self, Produced};
use crate::load::producer::{self, Pace, ProducePlan, ProducerState};
use crate::load::recorder::{Attribution, LiveShare, Recorder, Window};
use crate::load::set_up::Ground;
use crate::load::socket::connect;
use crate::load::timing::Timing;
use crate::load::verify::PartitionCheck;
use crate::load::watches::Watches;
use crate::load::workload::Workload;

/// How often the threads are looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a workload against a broker and verifies it. `observe` is called about four times a second, from this thread.
///
/// # Errors
/// Whatever is not as it should be: see [`LoadError`]. Topics that the run created are removed then too.
pub fn run(
    broker: SocketAddr,
    workload: &Workload,
    options: &RunOptions,
    observe: &mut dyn FnMut(&Live),
    interrupt: &Interrupt,
) -> Result<Outcome, LoadError> {
    let clock = Clock::start();
    // Different for runs that follow one another, and for those at the same time.
    let run = (clock.unix_ms(0) as u32).wrapping_mul(0x9e37_79b1) ^ std::process::id().rotate_left(16);
    let mut ground = Ground::prepare(broker, workload, options, run, interrupt)?;
    let outcome = context(&mut ground, workload, options, run, clock, interrupt).and_then(|context| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or(cores / 2).max(1);
        let mut run = Run { ground: &mut ground, context: &context, threads, observe };
        let states = run.write_backlog()?;
        run.measure(&states)
    });
    if !options.keep_topic {
        let removed = ground.remove_created();
        // The run's own error says more.
        if outcome.is_ok() {
            removed?;
        }
    }
    outcome
}

fn context<'a>(
    ground: &mut Ground,
    workload: &'a Workload,
    options: &RunOptions,
    run: u32,
    clock: Clock,
    interrupt: &Interrupt,
) -> Result<Context<'a>, LoadError> {
    let template = BatchTemplate::new(workload);
    let requests = ground.topics.iter().map(|topic| ProduceRequests::new(&topic.name, workload, &template)).collect();
    let reads_earlier_run = workload.producers == 0;
    Ok(Context {
        leaders: ground.leaders.clone(),
        workload,
        requests,
        template,
        topics: ground.topics.clone(),
        fetch_version: ground.fetch_version,
        start_offsets: if reads_earlier_run { ground.log_start_offsets()? } else { ground.end_offsets()? },
        run,
        clock,
        verify_full: options.verify_full,
        pin: options.pin,
        interrupt: interrupt.clone(),
        failed: AtomicBool::new(false),
    })
}

struct Run<'a, 'o> {
    ground: &'a mut Ground,
    context: &'a Context<'a>,
    /// For producers, and as many for consumers.
    threads: usize,
    observe: &'o mut dyn FnMut(&Live),
}

impl Run<'_, '_> {
    /// Writes what is to be there before anything is measured, and gives the producers as they are then.
    fn write_backlog(&mut self) -> Result<Vec<ProducerState>, LoadError> {
        let (context, workload) = (self.context, self.context.workload);
        let placements = Placement::all(workload, &context.leaders).into_iter().enumerate();
        let slots = workload.partitions_total();
        let states = placements.map(|(number, placement)| ProducerState::new(number, placement, slots)).collect();
        let Some(requests) = backlog_requests(context) else { return Ok(states) };
        let records = requests * workload.request_records();
        let always = Window { start_ns: 0, end_ns: u64::MAX };
        let (end_ns, give_up_ns) = (u64::MAX, u64::MAX);
        let plan =
            ProducePlan { pace: Pace::Greatest, end_ns, give_up_ns, requests_max: Some(requests), window: always };
        // Nothing of it is measured.
        let never = Window { start_ns: u64::MAX, end_ns: u64::MAX };
        let share = live_share();
        let mut view = LiveView::new(share.clone(), self.observe);
        let streams = connect_producers(context, &states)?;
        let parts = deal(states.into_iter().zip(streams).collect(), self.threads);
        let produced = thread::scope(|scope| {
            let spawn = |(number, part)| {
                let recorder = Recorder::new(never, Attribution::End, share.clone());
                let work = move || produce_session::run(context, plan, part, recorder);
                scope.spawn(move || context.run_thread(number, work))
            };
            let threads: Vec<_> = parts.into_iter().enumerate().map(spawn).collect();
            while !all_finished(&threads) {
                thread::sleep(LOOK_INTERVAL);
                let now_ns = context.clock.now_ns();
                view.look(now_ns, Phase::Preparing, |seen| seen as f64 / records as f64);
            }
            join(threads)
        })?;
        let mut states: Vec<ProducerState> = produced.into_iter().flat_map(|produced| produced.states).collect();
        states.sort_by_key(|state| state.number);
        accounts::settle(self.ground, context, &states)?;
        Ok(states)
    }

    /// The main part: producers, beginning as `states` says, and consumers at once; or consumers alone.
    fn measure(&mut self, states: &[ProducerState]) -> Result<Outcome, LoadError> {
        let (context, workload) = (self.context, self.context.workload);
        let groups = groups(workload);
        let targets = OnceLock::new();
        let mut left_records = 0;
        if workload.drain {
            let ends = self.ground.end_offsets()?;
            left_records = ends.iter().zip(&context.start_offsets).map(|(end, start)| (end - start) as u64).sum();
            if left_records == 0 {
                return Err(LoadError::Empty { topic: context.topics[0].name.clone() });
            }
            targets.set(ends).expect("nobody else sets it where only reading is measured");
        }
        let consumers = connect_consumers(context, &groups, states)?;
        let producers = if workload.drain {
            Vec::new()
        } else {
            let streams = connect_producers(context, states)?;
            states.iter().cloned().zip(streams).collect()
        };
        let timing = Timing::new(workload, &context.clock, left_records * groups.len() as u64);
        let mut watches = Watches::new(timing.window, workload);
        let attribution = if workload.rate.is_some() { Attribution::Begin } else { Attribution::End };
        let threads = Threads { context, timing, attribution, groups: &groups, targets: &targets, states };
        let measured = threads.run(self.ground, producers, consumers, self.threads, &mut watches, self.observe)?;
        // Only what was replicated while it was measured tells what replication costs.
        self.ground.check_in_sync()?;
        Ok(measured.outcome(&threads, &watches))
    }
}

/// The measured part's threads, and what they share.
struct Threads<'a> {
    context: &'a Context<'a>,
    timing: Timing,
    /// Of what producers begin.
    attribution: Attribution,
    groups: &'a [Group],
    targets: &'a OnceLock<Vec<i64>>,
    /// As the producers were before.
    states: &'a [ProducerState],
}

/// What the threads leave.
struct Measured {
    produced: Vec<Produced>,
    /// Records read, and recorders by group, of each thread.
    consumed: Vec<(u64, Vec<GroupRecorders>)>,
}

impl<'a> Threads<'a> {
    fn run(
        &self,
        ground: &mut Ground,
        producers: Vec<(ProducerState, TcpStream)>,
        consumers: Vec<Consumer<'a>>,
        threads_per_kind: usize,
        watches: &mut Watches,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<Measured, LoadError> {
        let Threads { context, timing, groups, .. } = *self;
        let is_producing = !producers.is_empty();
        let (produce_share, fetch_share) = (live_share(), live_share());
        let shown = if is_producing { &produce_share } else { &fetch_share };
        let mut view = LiveView::new(shown.clone(), observe);
        let from_start = |slot: Slot| start_of(context, self.states, false, slot);
        let reread = context.workload.reread.then_some((timing.window.end_ns, &from_start as _));
        let consume_plan = &ConsumePlan { targets: self.targets, reread };
        // Where there is no warm-up the measured time begins with the threads.
        watches.look(timing.start_ns, ground)?;
        let produce_plan = timing.produce_plan(context.workload);
        thread::scope(|scope| {
            let produce = |(number, part)| {
                let recorder = Recorder::new(timing.window, self.attribution, produce_share.clone());
                let work = move || produce_session::run(context, produce_plan, part, recorder);
                scope.spawn(move || context.run_thread(number, work))
            };
            let producers: Vec<_> = deal(producers, threads_per_kind).into_iter().enumerate().map(produce).collect();
            // Who reads old data is kept from delaying who is at the tail.
            let (tail, start): (Vec<_>, Vec<_>) = consumers.into_iter().partition(|one| groups[one.group()].is_at_tail);
            let parts = deal(tail, threads_per_kind).into_iter().chain(deal(start, threads_per_kind));
            let consume = |(number, part)| {
                let mut recorders = self.recorders(&fetch_share);
                let work = move || {
                    let records = consume_session::run(context, consume_plan, part, &mut recorders)?;
                    Ok((records, recorders))
                };
                let number = producers.len() + number;
                scope.spawn(move || context.run_thread(number, work))
            };
            let consumers: Vec<_> = parts.enumerate().map(consume).collect();

            let mut watch = |ground: &mut Ground, goes_on: &dyn Fn() -> bool, is_settled: bool| {
                while goes_on() {
                    thread::sleep(LOOK_INTERVAL);
                    let now_ns = context.clock.now_ns();
                    watches.look(now_ns, ground).inspect_err(|_| context.stop())?;
                    let phase = if is_producing && is_settled { Phase::Verifying } else { timing.phase(now_ns) };
                    view.look(now_ns, phase, |seen| timing.done(now_ns, seen));
                }
                let ended = if is_settled { watches.end(ground) } else { watches.end_of_sending(ground) };
                ended.inspect_err(|_| context.stop())?;
                // Whoever watches learns at once that the measured time is over.
                view.look(context.clock.now_ns(), Phase::Verifying, |_| 1.0);
                Ok::<(), LoadError>(())
            };
            let mut produced = Ok(Vec::new());
            let mut watched = Ok(());
            if is_producing {
                watched = watch(ground, &|| !all_finished(&producers), false);
                produced = join(producers).and_then(|produced: Vec<Produced>| {
                    let states: Vec<_> = produced.iter().flat_map(|produced| &produced.states).collect();
                    let ends = accounts::settle(ground, context, &states)?;
                    self.targets.set(ends).expect("nobody else sets it where there are producers");
                    Ok(produced)
                });
            }
            if produced.is_err() {
                context.stop();
            }
            let watched = watched.and(watch(ground, &|| !all_finished(&consumers), true));
            let consumed = join(consumers);
            // Of two errors the one that is not the other's consequence.
            match (produced, consumed) {
                (Ok(produced), Ok(consumed)) => watched.map(|()| Measured { produced, consumed }),
                (Err(LoadError::Interrupted(_)), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            }
        })
    }

    /// A thread's recorders by group.
    fn recorders(&self, fetch_share: &LiveShare) -> Vec<GroupRecorders> {
        let recorders = |group: &Group| GroupRecorders {
            fetch: Recorder::new(self.timing.window, Attribution::End, fetch_share.clone()),
            end_to_end: group.is_at_tail.then(|| Recorder::new(self.timing.window, self.attribution, live_share())),
        };
        self.groups.iter().map(recorders).collect()
    }
}

impl Measured {
    fn outcome(self, threads: &Threads<'_>, watches: &Watches) -> Outcome {
        let Threads { context, timing, attribution, groups, states, .. } = *threads;
        let workload = context.workload;
        let mut roles = Vec::new();
        let (mut late_sends, mut given_up) = (None, None);
        let mut acknowledged_records = accounts::records(context, states.iter());
        if !workload.drain {
            let states = self.produced.iter().flat_map(|produced| &produced.states);
            acknowledged_records = accounts::records(context, states);
            let of_due = |count: fn(&Produced) -> u64| {
                let sum = |count: fn(&Produced) -> u64| self.produced.iter().map(count).sum::<u64>();
                workload.rate.map(|_| sum(count) as f64 / sum(|one| one.due).max(1) as f64)
            };
            (late_sends, given_up) = (of_due(|one| one.late), of_due(|one| one.given_up));
            let recorders = self.produced.into_iter().map(|produced| produced.recorder).collect();
            let mut produced = timing.role_outcome(Role::Produce, attribution, recorders);
            if let Some((records, elapsed)) = watches.appended() {
                // Without acknowledgements our counts are of what sockets took, and those have large buffers.
                let batches = records / u64::from(context.template.records());
                produced.total.records = records;
                produced.total.batches = batches;
                produced.total.requests = batches / workload.partitions_per_request as u64;
                produced.total.bytes = batches * context.template.size_bytes() as u64;
                produced.elapsed = elapsed;
            }
            roles.push(produced);
        }
        let read_records = self.consumed.iter().map(|(records, _)| records).sum();
        let mut by_thread: Vec<_> = self.consumed.into_iter().map(|(_, recorders)| recorders.into_iter()).collect();
        for group in groups {
            let recorders: Vec<GroupRecorders> = by_thread.iter_mut().filter_map(Iterator::next).collect();
            let (fetch, end_to_end): (Vec<_>, Vec<_>) =
                recorders.into_iter().map(|recorders| (recorders.fetch, recorders.end_to_end)).unzip();
            let role = Role::Fetch { group: group.name.clone() };
            roles.push(timing.role_outcome(role, Attribution::End, fetch));
            if group.is_at_tail {
                let role = Role::EndToEnd { group: group.name.clone() };
                roles.push(timing.role_outcome(role, attribution, end_to_end.into_iter().flatten().collect()));
            }
        }
        Outcome {
            workload: workload.name.clone(),
            began_ms: context.clock.unix_ms(timing.window.start_ns),
            roles,
            verified: Verified { acknowledged_records, read_records, consumer_groups: groups.len() },
            client_cpu: watches.cpu(),
            late_sends,
            given_up,
            leading_brokers: context.leaders.count(),
        }
    }
}

fn backlog_requests(context: &Context<'_>) -> Option<u64> {
    let (workload, template) = (context.workload, &context.template);
    let batches = match (workload.backlog_records, workload.backlog_bytes) {
        (Some(records), _) => records.div_ceil(u64::from(template.records())),
        (None, bytes) => bytes?.div_ceil(template.size_bytes() as u64),
    };
    Some(batches.div_ceil(workload.partitions_per_request as u64))
}

/// The groups of a workload, those at the tail first.
fn groups(workload: &Workload) -> Vec<Group> {
    let tail = (0..workload.consumer_groups).map(|number| Group { name: format!("tail-{number}"), is_at_tail: true });
    let start = 0..workload.groups_from_start;
    tail.chain(start.map(|number| Group { name: format!("from-start-{number}"), is_at_tail: false })).collect()
}

/// Where a group begins to read a slot; `states` is what the producers have written until then.
fn start_of(context: &Context<'_>, states: &[ProducerState], is_at_tail: bool, slot: Slot) -> PartitionCheck {
    let start = context.start_offsets[slot];
    if states.is_empty() {
        return PartitionCheck::of_earlier_run(start);
    }
    let written = |state: &ProducerState| if is_at_tail { state.acknowledged[slot].batches } else { 0 };
    let sequences: Box<[u64]> = states.iter().map(written).collect();
    let offset = start + sequences.iter().sum::<u64>() as i64 * i64::from(context.template.records());
    PartitionCheck::new(offset, context.run, sequences)
}

fn connect_producers(context: &Context<'_>, states: &[ProducerState]) -> Result<Vec<TcpStream>, LoadError> {
    let connect = |state: &ProducerState| connect(state.broker(context), || producer::name(state.number));
    states.iter().map(connect).collect()
}

fn connect_consumers<'a>(
    context: &'a Context<'a>,
    groups: &[Group],
    states: &[ProducerState],
) -> Result<Vec<Consumer<'a>>, LoadError> {
    let mut consumers = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        for member in 0..context.workload.consumers_per_group {
            let check = |slot| start_of(context, states, group.is_at_tail, slot);
            for leader in 0..context.leaders.count() {
                let slots = consumer::slots(context, member, leader);
                if !slots.is_empty() {
                    let broker = context.leaders.address(leader);
                    let stream = connect(broker, || consumer::name(&group.name, member))?;
                    let place = Place { group: number, group_name: group.name.clone(), member, broker };
                    consumers.push(Consumer::new(context, place, &slots, stream, check));
                }
            }
        }
    }
    Ok(consumers)
}

/// Deals out `all` into `parts` at most, none of them empty.
fn deal<T>(all: Vec<T>, parts: usize) -> Vec<Vec<T>> {
    let parts = parts.min(all.len());
    let mut dealt: Vec<Vec<T>> = (0..parts).map(|_| Vec::new()).collect();
    for (number, one) in all.into_iter().enumerate() {
        dealt[number % parts].push(one);
    }
    dealt
}

fn all_finished<T>(threads: &[ScopedJoinHandle<'_, T>]) -> bool {
    threads.iter().all(ScopedJoinHandle::is_finished)
}

/// What all threads give, or the error of one: rather the first cause than that others were told to stop.
fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T, LoadError>>>) -> Result<Vec<T>, LoadError> {
    let (mut all, mut error) = (Vec::new(), None);
    for thread in threads {
        match (thread.join().expect("a load thread panicked"), &error) {
            (Ok(one), _) => all.push(one),
            (Err(found), None | Some(LoadError::Interrupted(_))) => error = Some(found),
            (Err(_), Some(_)) => {}
        }
    }
    error.map_or(Ok(all), Err)
}
