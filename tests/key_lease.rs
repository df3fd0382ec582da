//! What the workers of a process share about a source of keys: the two entries with their
//! bytes, and who may fetch when.
#![allow(clippy::panic)]

use crate::common::{at, jwk, jwks};
use proptest::prelude::*;
use proptest::test_runner::Config as ProptestConfig;
use scopegate::authn::key_cache::Edition;
use scopegate::authn::key_lease::{COOL_DOWN, Claim, Document, LONGEST_FETCH, Lease, Reason};
use scopegate::words::time::{Monotonic, Now, Timestamp};

/// How long a document that a lease announces is looked for after it was requested.
const NEWS: u64 = 122_000;

/// How far ahead of a worker's clock another one's may be.
const AHEAD: u64 = 1_000;

/// The longest pause after a failure, with its spread.
const LATEST_RETRY: u64 = 66_001;

/// The bytes before a document.
const DOCUMENT_HEAD: usize = 8 + 5 * 8;

/// The bytes of a lease.
const LEASE_BYTES: usize = 8 + 7 * 8;

/// How long a fetch of the workers here takes.
const LONGEST: u64 = 6_000;

const ME: u64 = 17;
const OTHER: u64 = 42;

const NEVER: Monotonic = Monotonic::from_millis(0);

fn mono(millis: u64) -> Monotonic {
    at(millis).mono
}

fn document(asked: u64, max_age: Option<u64>) -> Document {
    Document {
        edition: Edition {
            number: 3,
            asked: at(asked),
        },
        max_age,
        tag: None,
        bytes: jwks(&[jwk("p256-a")]).into(),
    }
}

/// A lease in which every number is distinct.
fn lease() -> Lease {
    Lease {
        holder: OTHER,
        until: mono(6_000),
        failures: 2,
        retry: mono(4_000),
        demanded: mono(0),
        fetched: mono(100),
        number: 5,
    }
}

/// What a worker with a document from that time should do.
fn claim(lease: Lease, now: u64, reason: Reason, held: Option<u64>) -> Claim {
    lease.claim(
        ME,
        mono(now),
        LONGEST,
        reason,
        held.map_or(Monotonic::from_millis(0), mono),
    )
}

#[track_caller]
fn taken(claim: Claim) -> Lease {
    match claim {
        Claim::Take(lease) => lease,
        other => panic!("{other:?}"),
    }
}

// The document

#[test]
fn a_document_is_read_as_it_was_written() {
    for max_age in [None, Some(0), Some(300_000), Some(u64::MAX - 1)] {
        let written = document(100, max_age);
        let entry = written.to_bytes();
        assert_eq!(entry.len(), DOCUMENT_HEAD + written.bytes.len());
        assert_eq!(Document::parse(&entry, mono(100)), Some(written));
    }
    // What its server calls it travels along.
    let mut tagged = document(100, None);
    tagged.tag = Some((*b"W/\"42\"").into());
    let entry = tagged.to_bytes();
    assert_eq!(Document::parse(&entry, mono(100)), Some(tagged));
    for length in DOCUMENT_HEAD..DOCUMENT_HEAD + 6 {
        assert_eq!(
            Document::parse(&entry[..length], mono(100)),
            None,
            "{length}"
        );
    }
    // An empty one is for those to refuse who read keys.
    let mut empty = document(100, None);
    empty.bytes = Box::default();
    let read = Document::parse(&empty.to_bytes(), mono(100));
    assert_eq!(read, Some(empty));
}

#[test]
fn a_document_without_its_numbers_is_none() {
    let written = document(100, Some(1));
    let entry = written.to_bytes();
    for length in 0..DOCUMENT_HEAD {
        assert_eq!(
            Document::parse(&entry[..length], mono(100)),
            None,
            "{length}"
        );
    }
    // With them it is what is left of it, and no key set by its own rules.
    for length in DOCUMENT_HEAD..entry.len() {
        let read = Document::parse(&entry[..length], mono(100)).unwrap();
        assert_eq!(read.edition, written.edition);
        assert_eq!(
            &*read.bytes,
            &written.bytes[..length - DOCUMENT_HEAD],
            "{length}"
        );
    }
}

#[test]
fn an_entry_of_another_form_is_no_document() {
    let entry = document(100, None).to_bytes();
    for position in 0..8 {
        let mut other = entry.clone();
        other[position] ^= 1;
        assert_eq!(Document::parse(&other, mono(100)), None, "{position}");
    }
    assert_eq!(Document::parse(&lease().to_bytes(), mono(100)), None);
}

#[test]
fn a_document_from_the_future_is_none() {
    // A worker that read its clock up to a second ago meets what was written since.
    let entry = document(2_000, None).to_bytes();
    assert!(Document::parse(&entry, mono(1_000)).is_some());
    assert_eq!(Document::parse(&entry, mono(999)), None);
    let mut never = document(0, None);
    never.edition.asked.mono = Monotonic::from_millis(u64::MAX);
    assert_eq!(Document::parse(&never.to_bytes(), mono(100)), None);
}

#[test]
fn newer_is_what_was_asked_for_later_whatever_its_number() {
    let early = document(100, None);
    let mut late = document(101, None);
    late.edition.number = 1;
    assert!(late.is_newer(Some(&early)) && !early.is_newer(Some(&late)));
    assert!(!early.is_newer(Some(&early)));
    assert!(early.is_newer(None));
    // By the clock that never steps.
    late.edition.asked.wall = Timestamp::from_secs(0);
    assert!(late.is_newer(Some(&early)));
}

// The lease

#[test]
fn a_lease_is_read_as_it_was_written() {
    let entry = lease().to_bytes();
    assert_eq!(entry.len(), LEASE_BYTES);
    assert_eq!(Lease::parse(&entry, mono(200)), lease());
    let nobody = Lease::default();
    assert_eq!(Lease::parse(&nobody.to_bytes(), mono(0)), nobody);
}

#[test]
fn what_is_malformed_is_nobodys_lease() {
    let entry = lease().to_bytes();
    for length in 0..LEASE_BYTES {
        let read = Lease::parse(&entry[..length], mono(200));
        assert_eq!(read, Lease::default(), "{length}");
    }
    let longer = [&entry[..], b"\0"].concat();
    assert_eq!(Lease::parse(&longer, mono(200)), Lease::default());
    for position in 0..8 {
        let mut other = entry.clone();
        other[position] ^= 1;
        assert_eq!(
            Lease::parse(&other, mono(200)),
            Lease::default(),
            "{position}"
        );
    }
    let document = document(100, None).to_bytes();
    assert_eq!(Lease::parse(&document, mono(200)), Lease::default());
}

#[test]
fn instants_that_cannot_be_count_for_nothing() {
    let now = 100_000;
    let read = |lease: Lease| Lease::parse(&lease.to_bytes(), mono(now));
    let sound = Lease {
        holder: OTHER,
        until: mono(now + LONGEST_FETCH),
        failures: u64::MAX,
        retry: mono(now + LATEST_RETRY),
        demanded: mono(now),
        fetched: mono(now),
        number: 9,
    };
    assert_eq!(read(sound), sound);
    for (written, believed) in [
        (
            Lease {
                until: mono(now + LONGEST_FETCH + 1),
                ..sound
            },
            Lease {
                until: NEVER,
                ..sound
            },
        ),
        (
            Lease {
                retry: mono(now + LATEST_RETRY + 1),
                ..sound
            },
            Lease {
                retry: NEVER,
                ..sound
            },
        ),
        (
            Lease {
                demanded: mono(now + 1_001),
                ..sound
            },
            Lease {
                demanded: NEVER,
                ..sound
            },
        ),
        (
            Lease {
                fetched: mono(now + 1_001),
                ..sound
            },
            Lease {
                fetched: NEVER,
                ..sound
            },
        ),
    ] {
        assert_eq!(read(written), believed);
    }
    // Nobody is kept from fetching by a lease that says "for ever".
    let forever = Monotonic::from_millis(u64::MAX);
    let hostile = Lease {
        holder: OTHER,
        until: forever,
        failures: u64::MAX,
        retry: forever,
        demanded: forever,
        fetched: forever,
        number: u64::MAX,
    };
    for reason in [Reason::Demand, Reason::Schedule] {
        taken(claim(read(hostile), now, reason, None));
    }
}

#[test]
fn whoever_finds_nobody_takes_it_for_the_time_that_it_needs() {
    let mine = taken(claim(
        Lease::default(),
        100_000,
        Reason::Schedule,
        Some(500),
    ));
    assert_eq!(
        mine,
        Lease {
            holder: ME,
            until: mono(100_000 + LONGEST),
            ..Lease::default()
        }
    );
    // No longer than anybody believes.
    let nobody = Lease::default();
    let long = nobody.claim(
        ME,
        mono(0),
        u64::MAX,
        Reason::Schedule,
        Monotonic::from_millis(0),
    );
    assert_eq!(taken(long).until, mono(LONGEST_FETCH));
    // What it says of failures and documents stays.
    let before = Lease {
        holder: 0,
        retry: NEVER,
        ..lease()
    };
    let mine = taken(claim(before, 100_000, Reason::Schedule, Some(100)));
    let expected = Lease {
        holder: ME,
        until: mono(100_000 + LONGEST),
        ..before
    };
    assert_eq!(mine, expected);
}

#[test]
fn a_holder_is_left_alone_until_its_time_is_up() {
    let theirs = Lease {
        retry: NEVER,
        fetched: NEVER,
        demanded: NEVER,
        ..lease()
    };
    for reason in [Reason::Demand, Reason::Schedule] {
        for now in [0, 5_999] {
            let held = Claim::Held(mono(6_000));
            assert_eq!(claim(theirs, now, reason, None), held, "{now}");
        }
        assert_eq!(taken(claim(theirs, 6_000, reason, None)).holder, ME);
    }
    assert_eq!(theirs.other(ME, mono(5_999)), Some(mono(6_000)));
    assert_eq!(theirs.other(ME, mono(6_000)), None);
    // One's own lease is no obstacle: its holder has forgotten about it.
    assert_eq!(theirs.other(OTHER, mono(0)), None);
    let own = theirs.claim(
        OTHER,
        mono(0),
        LONGEST,
        Reason::Schedule,
        Monotonic::from_millis(0),
    );
    assert_eq!(taken(own).holder, OTHER);
    let nobody = Lease {
        holder: 0,
        ..theirs
    };
    assert_eq!(nobody.other(ME, mono(0)), None);
}

#[test]
fn demands_have_a_cool_down_and_schedules_have_a_back_off() {
    let pausing = Lease {
        retry: mono(40_000),
        demanded: mono(0),
        ..Lease::default()
    };
    assert_eq!(pausing.cool(), mono(COOL_DOWN));
    let early = claim(pausing, COOL_DOWN - 1, Reason::Demand, None);
    assert_eq!(early, Claim::NotBefore(mono(COOL_DOWN)));
    let early = claim(pausing, 39_999, Reason::Schedule, None);
    assert_eq!(early, Claim::NotBefore(mono(40_000)));
    // Neither waits for the other.
    let demanded = taken(claim(pausing, COOL_DOWN, Reason::Demand, None));
    assert_eq!(demanded.demanded, mono(COOL_DOWN));
    let scheduled = taken(claim(pausing, 40_000, Reason::Schedule, None));
    assert_eq!(scheduled.demanded, mono(0));
    // What was never demanded has nothing to cool down from.
    assert_eq!(Lease::default().cool(), NEVER);
    let first = Lease::default().claim(
        ME,
        Monotonic::from_millis(1),
        LONGEST,
        Reason::Demand,
        Monotonic::from_millis(0),
    );
    assert_eq!(taken(first).demanded, Monotonic::from_millis(1));
}

#[test]
fn whoever_has_an_older_document_looks_for_the_newer_one_first() {
    let told = Lease {
        fetched: mono(1_000),
        ..Lease::default()
    };
    for reason in [Reason::Demand, Reason::Schedule] {
        for held in [None, Some(0), Some(999)] {
            assert_eq!(claim(told, 1_100, reason, held), Claim::Newer, "{held:?}");
        }
        for held in [1_000, 1_001] {
            taken(claim(told, 1_100, reason, Some(held)));
        }
        // One that has not come to be seen by then never will.
        let latest = 1_000 + NEWS;
        assert_eq!(claim(told, latest, reason, None), Claim::Newer);
        taken(claim(told, latest + 1, reason, None));
    }
    // Whoever fetches comes first, a pause does not.
    let theirs = Lease {
        holder: OTHER,
        until: mono(6_000),
        ..told
    };
    let held = Claim::Held(mono(6_000));
    assert_eq!(claim(theirs, 1_100, Reason::Schedule, None), held);
    let pausing = Lease {
        retry: mono(9_000),
        ..told
    };
    let newer = claim(pausing, 1_100, Reason::Schedule, None);
    assert_eq!(newer, Claim::Newer);
}

#[test]
fn a_success_forgets_the_failures_and_tells_of_its_document() {
    let after = lease().after_success(mono(5_000), 7);
    assert_eq!(
        after,
        Lease {
            holder: 0,
            failures: 0,
            retry: NEVER,
            fetched: mono(5_000),
            number: 7,
            ..lease()
        }
    );
    // A late one takes nothing back.
    let late = after.after_success(mono(4_000), 6);
    assert_eq!((late.fetched, late.number), (mono(5_000), 7));
}

#[test]
fn pauses_after_failures_double_from_a_second_to_a_minute() {
    let mut lease = Lease::default();
    let now = 100_000;
    for (failures, pause) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]) {
        let span = pause * 1_000;
        let mut asked = None;
        lease = lease.after_failure(mono(now), u64::MAX, |pause| {
            asked = Some(pause);
            pause + pause / 10
        });
        assert_eq!(asked, Some(span), "{failures}");
        assert_eq!(lease.failures, failures);
        assert_eq!(lease.retry, mono(now + span * 11 / 10));
        assert_eq!(lease.holder, 0);
        // Whatever is drawn is believed by whoever reads it.
        assert_eq!(Lease::parse(&lease.to_bytes(), mono(now)), lease);
    }
    // So many do not overflow anything.
    let many = Lease {
        failures: u64::MAX,
        ..lease
    };
    let after = many.after_failure(mono(now), u64::MAX, |pause| pause);
    assert_eq!(after.failures, u64::MAX);
    assert_eq!(after.retry, mono(now + 60_000));
}

#[test]
fn a_lease_that_is_given_back_leaves_the_rest_as_it_was() {
    assert_eq!(
        lease().abandoned(),
        Lease {
            holder: 0,
            ..lease()
        }
    );
    // Who shares no more expects no document of others.
    assert_eq!(
        lease().alone(),
        Lease {
            holder: 0,
            fetched: NEVER,
            number: 0,
            ..lease()
        }
    );
}

// At random

fn instants() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        any::<u64>(),
        (0..200_000_u64).prop_map(|offset| mono(0).as_millis() + offset),
    ]
}

fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_bytes_are_entries_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Document::parse(&bytes, mono(0)), None);
        prop_assert_eq!(Lease::parse(&bytes, mono(0)), Lease::default());
    }

    /// Whatever an entry holds, nobody is kept from fetching for longer than another worker's
    /// fetch, news of a document, a cool-down and a pause can take together.
    #[test]
    fn no_lease_keeps_anybody_from_fetching_for_good(
        numbers in prop::collection::vec(instants(), 6),
        failures in any::<u64>(),
        held in prop::option::of(instants()),
    ) {
        let written = Lease {
            holder: numbers[0],
            until: Monotonic::from_millis(numbers[1]),
            failures,
            retry: Monotonic::from_millis(numbers[3]),
            demanded: Monotonic::from_millis(numbers[4]),
            fetched: Monotonic::from_millis(numbers[5]),
            number: failures,
        };
        let held = held.map(Monotonic::from_millis);
        let entry = written.to_bytes();
        let now = mono(100_000);
        let read = Lease::parse(&entry, now);
        // What was believed once is believed later, but for what has passed; the news may
        // be of a clock that is ahead of this one.
        let longest = LONGEST_FETCH.max(AHEAD + NEWS).max(LATEST_RETRY).max(COOL_DOWN);
        let later = now.after(longest + 1);
        for reason in [Reason::Demand, Reason::Schedule] {
            let claim = read.claim(ME, later, LONGEST, reason, held.unwrap_or_default());
            prop_assert!(matches!(claim, Claim::Take(_)), "{:?}", claim);
        }
    }

    #[test]
    fn a_document_of_any_numbers_is_read_as_it_was_written(
        number in any::<u64>(),
        asked in 0..=mono(0).as_millis(),
        wall in any::<u64>(),
        max_age in prop::option::of(0..u64::MAX),
        tag in prop::option::of(prop::collection::vec(any::<u8>(), 1..20).prop_map(Into::into)),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let written = Document {
            edition: Edition {
                number,
                asked: Now {
                    mono: Monotonic::from_millis(asked),
                    wall: Timestamp::from_secs(wall),
                },
            },
            max_age,
            tag,
            bytes: bytes.into(),
        };
        prop_assert_eq!(Document::parse(&written.to_bytes(), mono(0)), Some(written));
    }
}
