//! Any bytes as a recorded trace: text of lackey, the compact form, either of them compressed.

use super::{Fault, ensure};
use crate::trace::{self, Access, Kind, MAX_SIZE, Plan, Trace, TraceError};

/// Accesses that are looked at: a few bytes can hold billions.
const MOST: u64 = 1 << 14;

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let trace = match Trace::from_bytes(data.to_vec()) {
        Ok(trace) => trace.limited(MOST),
        Err(error) => return told(&error),
    };
    let accesses = match whole(&trace)? {
        Ok(accesses) => accesses,
        // What comes before an error can be read all the same.
        Err((before, error)) => {
            told(&error)?;
            let count = before.len() as u64;
            if count == 0 {
                return Err(Fault::new("a trace that opens has no first access"));
            }
            return compare(&trace.limited(count), &before);
        }
    };
    compare(&trace, &accesses)
}

/// A few accesses in every form.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    const TEXT: &[u8] = b"==1== Lackey\nI  04001000,4\n L 1ffeffe7e,8\n S 04222000,8\n M 04223ffc,8\nI  04001004,16\n";
    /// A frame with one raw block.
    const ZSTD: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 14, 0x71, 0, 0];
    let mut seeds = vec![("lackey".to_owned(), TEXT.to_vec())];
    if let Ok(trace) = Trace::from_bytes(TEXT.to_vec()) {
        for (name, pages_only, gzip) in [
            ("compact", false, false),
            ("pages", true, false),
            ("compact-gzip", false, true),
            ("pages-gzip", true, true),
        ] {
            seeds.extend(trace::encode(&trace, Plan { pages_only, gzip }).ok().map(|data| (name.to_owned(), data)));
        }
    }
    seeds.push(("zstd".to_owned(), ZSTD.iter().copied().chain(*b"I  04001000,4\n").collect()));
    seeds
}

type Read = Result<Vec<Access>, (Vec<Access>, TraceError)>;

fn whole(trace: &Trace) -> Result<Read, Fault> {
    let mut accesses = Vec::new();
    for access in trace.accesses().map_err(|error| Fault::new(format!("it opens once only: {error}")))? {
        match access {
            Ok(access) => accesses.push(access),
            Err(error) => return Ok(Err((accesses, error))),
        }
    }
    ensure(accesses.len() as u64 <= MOST, || format!("{} accesses", accesses.len()))?;
    Ok(Ok(accesses))
}

/// All ways of reading a trace agree on what is in it.
fn compare(trace: &Trace, accesses: &[Access]) -> Result<(), Fault> {
    for access in accesses {
        let fits =
            (1..=MAX_SIZE).contains(&access.size) && access.address.checked_add(u64::from(access.size) - 1).is_some();
        ensure(fits, || format!("{access:x?}"))?;
    }
    let summary = trace::summary(trace).map_err(unexpected)?;
    ensure(summary.total() == accesses.len() as u64, || format!("{summary:?}, not {}", accesses.len()))?;
    let bytes: u64 = accesses.iter().map(|access| u64::from(access.size)).sum();
    ensure(summary.bytes == bytes, || format!("{summary:?}, not {bytes} bytes"))?;
    let pages = trace::page_trace(trace).map_err(unexpected)?;
    ensure(pages.pages.len() as u64 == summary.pages, || format!("{} pages, {summary:?}", pages.pages.len()))?;
    ensure(pages.touches.iter().all(|touch| touch.slot() < pages.pages.len()), || "a touch of no page".to_owned())?;
    // A limit is on what is kept, so without fetches more of the trace is read: at least what was wanted comes first.
    let data = trace.clone().data_only().accesses().map_err(unexpected)?;
    let data: Vec<Access> = data.map_while(Result::ok).collect();
    let wanted: Vec<Access> = accesses.iter().filter(|access| access.kind != Kind::Fetch).copied().collect();
    ensure(data.starts_with(&wanted), || "without fetches something else remains".to_owned())?;
    for gzip in [false, true] {
        // Packing well takes its time.
        if gzip && accesses.len() > 256 {
            break;
        }
        let bytes = trace::encode(trace, Plan { pages_only: false, gzip }).map_err(unexpected)?;
        let back = Trace::from_bytes(bytes).map_err(unexpected)?;
        let back = whole(&back)?.map_err(|(_, error)| unexpected(error))?;
        ensure(back == accesses, || "what is written in the compact form is not what was read".to_owned())?;
    }
    Ok(())
}

fn unexpected(error: TraceError) -> Fault {
    Fault::new(format!("it has been read to its end, and now: {error}"))
}

fn told(error: &TraceError) -> Result<(), Fault> {
    ensure(!error.to_string().is_empty(), || "an error without words".to_owned())
}
