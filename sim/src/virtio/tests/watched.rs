//! A guest's pages as the guest itself knows them, and guest memory that compares with them all that devices see.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::vec::IntoIter;

use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed, SeedStream};
use uvsim_model::uvc::Command;
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Permissions, VolatileSlice};

use crate::kernel::{FaultAnswers, Kernel, PageBytes, Stop};
use crate::virtio::view::{HostView, ThroughSlice, WriteThrough};

/// The pages that are played with.
pub(super) const FIRST: u64 = 0x20;
pub(super) const PAGES: u64 = 5;
/// What the guest stores in pages before it shares them; at their start lie the headers of disk requests.
const OPEN: u8 = 0x11;
/// What is written to slices that have been kept.
const LATE: u8 = 0x77;
/// How many slices are kept.
const KEPT: usize = 12;
const TOKEN: usize = 16;
const WINDOW: usize = 8;

/// What happens to a page, counted from the first that is played with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// By the guest; it scrubs the page before.
    Share(u64),
    /// By the guest; it puts a secret there at once.
    Unshare(u64),
    /// By the guest, if the page is its own.
    Secret(u64),
    Pin(u64),
    Unpin(u64),
    Export(u64),
    Import(u64),
    PageOut(u64),
    PageIn(u64),
    Destroy(u64),
    UnshareAll,
    /// Of slices that have been handed out at any time before, one is read again.
    ReadKept(usize),
    /// One is written to again.
    WriteKept(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Private,
    /// As the guest has it, but the host has the bytes sealed.
    Exported,
    Shared,
}

/// The pages, with what their guest expects in them.
pub(super) struct Pages {
    states: Vec<State>,
    /// What lies in pages that are not shared.
    contents: Vec<Box<PageBytes>>,
    random: SeedStream,
    secrets: u32,
    windows: HashSet<[u8; WINDOW]>,
    wrong: Vec<String>,
}

impl Pages {
    /// All private, full of secrets.
    pub(super) fn new(kernel: &mut Kernel<'_>) -> Self {
        let mut pages = Self {
            states: vec![State::Private; PAGES as usize],
            contents: vec![Box::new([0; PAGE_SIZE as usize]); PAGES as usize],
            random: Seed(7).stream(Purpose::Workload),
            secrets: 0,
            windows: HashSet::new(),
            wrong: Vec::new(),
        };
        for page in 0..PAGES {
            pages.secret(kernel, page);
        }
        pages
    }

    /// What has gone wrong first.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.wrong.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    fn fail(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    /// Something happens on the machine.
    pub(super) fn apply(&mut self, kernel: &mut Kernel<'_>, event: Event) {
        let absolute = |page| FIRST + page;
        match event {
            Event::Share(page) => self.share(kernel, page),
            Event::Unshare(page) => {
                self.change(kernel, page, Command::RemoveSharedAccess);
                self.states[page as usize] = State::Private;
                self.secret(kernel, page);
            }
            Event::Secret(page) if self.state(page) == State::Private => self.secret(kernel, page),
            Event::Export(page) => self.host(kernel.export(0, 0, absolute(page)), page, State::Exported),
            Event::PageOut(page) => self.host(kernel.page_out(0, 0, absolute(page)), page, State::Exported),
            Event::Import(page) => self.host(kernel.import(0, 0, absolute(page)), page, State::Private),
            Event::PageIn(page) => self.host(kernel.page_in(0, 0, absolute(page)), page, State::Private),
            Event::Pin(page) => self.attempt(kernel.pin(0, 0, absolute(page))),
            Event::Unpin(page) => self.attempt(kernel.unpin(0, 0, absolute(page))),
            Event::Destroy(page) => {
                // Without effect where the frame is the host's (T53).
                if kernel.destroy(0, 0, absolute(page)).is_ok() && self.state(page) == State::Private {
                    self.fail(format!("page {page} of a running guest is destroyed"));
                }
            }
            Event::UnshareAll => self.unshare_all(kernel),
            Event::Secret(_) | Event::ReadKept(_) | Event::WriteKept(_) => {}
        }
    }

    fn share(&mut self, kernel: &mut Kernel<'_>, page: u64) {
        if self.state(page) == State::Shared {
            return;
        }
        let mut open = [OPEN; PAGE_SIZE as usize];
        // One page offers a write of a disk, the next a read, each of its own sector.
        open[..8].copy_from_slice(&(1 - page % 2).to_le_bytes());
        open[8..16].copy_from_slice(&page.to_le_bytes());
        self.store(kernel, (FIRST + page) * PAGE_SIZE, &open);
        self.change(kernel, page, Command::SetSharedAccess);
        self.states[page as usize] = State::Shared;
    }

    /// The host resets the guest's sharing, and the guest uses what it has got back.
    fn unshare_all(&mut self, kernel: &mut Kernel<'_>) {
        if kernel.unshare_all(0, 0).is_err() {
            return;
        }
        for page in 0..PAGES {
            if self.state(page) == State::Shared {
                self.states[page as usize] = State::Private;
                self.secret(kernel, page);
            }
        }
    }

    fn change(&mut self, kernel: &mut Kernel<'_>, page: u64, command: Command) {
        let done = super::change(kernel, FIRST + page, command);
        if !matches!(&done, Ok(observed) if observed.rc == Some(1)) {
            self.fail(format!("{command:?} of page {page}: {done:?}"));
        }
    }

    /// An attempt of the host, and what of a page that is not shared it makes if it succeeds.
    fn host(&mut self, done: Result<impl Sized, Stop>, page: u64, state: State) {
        if done.is_ok() && self.state(page) != State::Shared {
            self.states[page as usize] = state;
        }
        self.attempt(done);
    }

    /// Refusals are part of the play; anything else is not.
    fn attempt(&mut self, done: Result<impl Sized, Stop>) {
        match done {
            Ok(_) | Err(Stop::Outcome(_)) => {}
            Err(stop) => self.fail(format!("{stop:?}")),
        }
    }

    fn secret(&mut self, kernel: &mut Kernel<'_>, page: u64) {
        self.secrets += 1;
        let mut token = *b"SECRET..________";
        token[6..8].copy_from_slice(&self.secrets.to_be_bytes()[2..]);
        self.random.fill(&mut token[8..]);
        let bytes: PageBytes = std::array::from_fn(|at| token[at % TOKEN]);
        self.windows.extend(bytes.windows(WINDOW).take(TOKEN).map(|window| <[u8; WINDOW]>::try_from(window).unwrap()));
        self.store(kernel, (FIRST + page) * PAGE_SIZE, &bytes);
    }

    fn state(&self, page: u64) -> State {
        self.states[page as usize]
    }

    /// Whether the host may see a byte.
    fn is_shared(&self, address: u64) -> bool {
        let page = (address / PAGE_SIZE).checked_sub(FIRST);
        page.and_then(|page| self.states.get(page as usize)) == Some(&State::Shared)
    }

    /// Whether part of a secret is among these bytes.
    pub(super) fn betrayed(&self, bytes: &[u8]) -> bool {
        bytes.windows(WINDOW).any(|window| self.windows.contains(window))
    }

    /// The guest stores bytes in its pages; others stay as they are.
    pub(super) fn store(&mut self, kernel: &mut Kernel<'_>, address: u64, bytes: &[u8]) {
        for (start, len, page, offset) in pieces(address, bytes.len()) {
            if page >= PAGES {
                continue;
            }
            let part = &bytes[start..start + len];
            let act = |kernel: &mut Kernel<'_>| {
                kernel.act(0, 0, |cpu| {
                    cpu.store(uvsim_model::address::GuestAddress((FIRST + page) * PAGE_SIZE + offset as u64), part)
                })
            };
            if let Err(stop) = kernel.with_faults(0, 0, FaultAnswers::Linux, None, act) {
                self.fail(format!("the guest cannot store to page {page}, {:?}: {stop:?}", self.state(page)));
            } else if self.state(page) != State::Shared {
                self.states[page as usize] = State::Private;
                self.contents[page as usize][offset..offset + len].copy_from_slice(part);
            }
        }
    }

    /// Pages that are not shared hold what the guest has put there; of those with the host, only `all` look.
    pub(super) fn check(&mut self, kernel: &mut Kernel<'_>, all: bool) {
        for page in 0..PAGES {
            let state = self.state(page);
            if state == State::Shared || (state == State::Exported && !all) {
                continue;
            }
            let mut bytes = [0; PAGE_SIZE as usize];
            match load(kernel, (FIRST + page) * PAGE_SIZE, &mut bytes) {
                Err(stop) => self.fail(format!("the guest cannot load from page {page}, {state:?}: {stop:?}")),
                Ok(()) if bytes != *self.contents[page as usize] => {
                    self.fail(format!("page {page} is {state:?} and has been written to"));
                }
                Ok(()) => {}
            }
        }
    }
}

/// The guest loads bytes of a page.
fn load(kernel: &mut Kernel<'_>, address: u64, bytes: &mut [u8]) -> Result<(), Stop> {
    let act =
        |kernel: &mut Kernel<'_>| kernel.act(0, 0, |cpu| cpu.load(uvsim_model::address::GuestAddress(address), bytes));
    kernel.with_faults(0, 0, FaultAnswers::Linux, None, act)
}

/// The host's view, with someone who looks at all that is handed out, keeps it, and lets things happen in between.
pub(super) struct Watched<'a, 'k, 'm> {
    view: &'a HostView<'k, 'm>,
    pages: &'a RefCell<Pages>,
    /// How many steps are still to be taken before an event, and the event.
    script: RefCell<VecDeque<(u8, Event)>>,
    kept: RefCell<Vec<Kept<'a>>>,
    /// A write has been refused with no one to tell.
    untold: Cell<bool>,
}

struct Kept<'a> {
    address: u64,
    slice: VolatileSlice<'a, ThroughSlice<'a>>,
    /// What it has shown, if it could be read.
    seen: Option<Vec<u8>>,
}

impl fmt::Debug for Watched<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl<'a, 'k, 'm> Watched<'a, 'k, 'm> {
    pub(super) fn new(view: &'a HostView<'k, 'm>, pages: &'a RefCell<Pages>, script: &[(u8, Event)]) -> Self {
        let script = RefCell::new(script.iter().copied().collect());
        Self { view, pages, script, kept: RefCell::default(), untold: Cell::new(false) }
    }

    /// What is left of the script happens, and a write that was refused must have been taken down.
    pub(super) fn finish(self) {
        while let Some((_, event)) = self.pop(true) {
            self.happen(event);
        }
        let told = self.view.take_refusals().iter().any(|refusal| refusal.write);
        if self.untold.get() && !told {
            self.fail("a refused write is not among the refusals".into());
        }
    }

    fn fail(&self, wrong: String) {
        self.pages.borrow_mut().fail(wrong);
    }

    fn pop(&self, now: bool) -> Option<(u8, Event)> {
        let mut script = self.script.borrow_mut();
        let (wait, _) = script.front_mut()?;
        if *wait > 0 && !now {
            *wait -= 1;
            return None;
        }
        script.pop_front()
    }

    fn step(&self) {
        while let Some((_, event)) = self.pop(false) {
            self.happen(event);
        }
    }

    fn happen(&self, event: Event) {
        match event {
            Event::ReadKept(number) => self.read_again(number),
            Event::WriteKept(number) => self.write_again(number),
            event => self.view.meanwhile(|kernel| self.pages.borrow_mut().apply(kernel, event)),
        }
    }

    /// What has been handed out shows what it showed.
    fn read_again(&self, number: usize) {
        let kept = self.kept.borrow();
        let Some(Kept { address, slice, seen: Some(seen) }) = kept.get(number) else { return };
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(&mut bytes);
        if bytes != *seen {
            self.fail(format!("a slice of {address:#x} has changed behind the device's back"));
        }
    }

    fn write_again(&self, number: usize) {
        let mut kept = self.kept.borrow_mut();
        let Some(Kept { address, slice, seen }) = kept.get_mut(number) else { return };
        slice.copy_from(&vec![LATE; slice.len()]);
        if let Some(seen) = seen {
            seen.fill(LATE);
        }
        if !self.pages.borrow().is_shared(*address) {
            self.untold.set(true);
        }
    }

    fn saw(&self, address: u64, slice: VolatileSlice<'a, ThroughSlice<'a>>, access: Permissions) {
        if self.untold.get() {
            self.fail(format!("{address:#x} is handed out although a write was refused"));
        }
        if !self.pages.borrow().is_shared(address) {
            self.fail(format!("{address:#x} is handed out for {access:?} and not shared"));
        }
        if address % PAGE_SIZE + slice.len() as u64 > PAGE_SIZE {
            self.fail(format!("a slice of {address:#x} crosses the end of its page"));
        }
        let seen = access.allow(Permissions::Read).then(|| {
            let mut seen = vec![0; slice.len()];
            slice.copy_to(&mut seen);
            let mut truth = vec![0; slice.len()];
            let loaded = self.view.meanwhile(|kernel| load(kernel, address, &mut truth));
            if loaded.is_err() || truth != seen {
                self.fail(format!("{address:#x} shows what the guest does not have there"));
            }
            seen
        });
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT && !slice.is_empty() {
            kept.push(Kept { address, slice, seen });
        }
    }
}

impl GuestMemory for Watched<'_, '_, '_> {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = WriteThrough;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.step();
        let allowed = self.view.check_range(addr, count, access);
        if allowed && pieces(addr.0, count).iter().any(|piece| !self.pages.borrow().is_shared(addr.0 + piece.0 as u64))
        {
            self.fail(format!("{:#x} is found good for {access:?} and not shared", addr.0));
        }
        allowed
    }

    fn get_slices<'s>(
        &'s self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'s, ThroughSlice<'s>>, GuestMemoryError> {
        let mut slices = self.view.get_slices(addr, count, access)?;
        let (mut at, mut seen) = (addr.0, Vec::new());
        loop {
            self.step();
            let Some(slice) = slices.next() else { break };
            if let Ok(slice) = &slice {
                self.saw(at, *slice, access);
                at += slice.len() as u64;
            }
            seen.push(slice);
        }
        Ok(Seen(seen.into_iter()))
    }
}

type Handed<'a> = Result<VolatileSlice<'a, ThroughSlice<'a>>, GuestMemoryError>;

/// Slices that have been looked at.
struct Seen<'a>(IntoIter<Handed<'a>>);

impl<'a> Iterator for Seen<'a> {
    type Item = Handed<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl FusedIterator for Seen<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ThroughSlice<'a>> for Seen<'a> {}

/// A range by the page: where it starts in the range, its length, the page, counted from the first that is played
/// with, and the offset in it.
fn pieces(address: u64, len: usize) -> Vec<(usize, usize, u64, usize)> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    while start < len {
        let Some(at) = address.checked_add(start as u64) else { break };
        let offset = (at % PAGE_SIZE) as usize;
        let length = (len - start).min(PAGE_SIZE as usize - offset);
        pieces.push((start, length, (at / PAGE_SIZE).wrapping_sub(FIRST), offset));
        start += length;
    }
    pieces
}
