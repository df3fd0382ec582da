//! The time and the memory that large configurations take, and the limits that refuse larger
//! ones.
#![allow(clippy::unwrap_used, unsafe_code)]
#![expect(
    clippy::cast_precision_loss,
    reason = "times and amounts here are far below 2^53"
)]

mod common;
#[path = "common/host.rs"]
#[allow(dead_code)]
mod host;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::{NOW, UPTIME, config, merge};
use host::{Host, Store};
use scopegate::authn::keys::InModule;
use scopegate::config::{Config, Environment, MAX_DOCUMENT, Problem};
use serde_json::{Map, Value, json};

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most there were.
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn taken(bytes: usize) {
    let held = HELD.with(|held| {
        held.set(held.get().wrapping_add(bytes));
        held.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(held)));
}

fn freed(bytes: usize) {
    HELD.with(|held| held.set(held.get().wrapping_sub(bytes)));
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        freed(layout.size());
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        freed(layout.size());
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn parse(document: &[u8]) -> Result<Config, Vec<Problem>> {
    Config::parse(document, &Environment::default())
}

/// How long this thread has computed. Other work on the machine does not count, if the system
/// reports that.
fn computed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat");
    let told = told
        .ok()
        .and_then(|line| line.split(' ').next()?.parse().ok());
    told.map_or_else(
        || START.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
}

/// What a document costs.
struct Cost {
    bytes: usize,
    time: Duration,
    /// Most memory while it is read.
    peak: usize,
    /// The memory of the result.
    held: usize,
}

fn cost(document: &Value) -> Cost {
    let document = document.to_string().into_bytes();
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let parsed = parse(&document);
    let peak = PEAK.with(Cell::get).saturating_sub(before);
    let held = HELD.with(Cell::get).saturating_sub(before);
    drop(parsed);
    // As often as it takes to be told exactly.
    let (start, mut times) = (computed(), 0);
    let time = loop {
        drop(parse(&document));
        times += 1;
        let so_far = computed().saturating_sub(start);
        if so_far >= Duration::from_millis(200) {
            break so_far / times;
        }
    };
    Cost {
        bytes: document.len(),
        time,
        peak,
        held,
    }
}

fn organizations(count: usize, groups: usize) -> Value {
    let organization = |number: usize| {
        let groups: Vec<String> = (0..groups).map(|g| format!("group-{number}-{g}")).collect();
        let tenant = format!("tenant-{number}");
        json!({"name": format!("org-{number}"), "tenants": [tenant], "rbac": {"viewers": groups}})
    };
    let mut config = config();
    config["organizations"] = (0..count).map(organization).collect();
    config
}

/// Groups whose names are about as short as they can be.
fn short_groups(count: usize) -> Value {
    let mut config = config();
    let groups: Vec<String> = (0..count).map(|number| format!("{number:x}")).collect();
    config["organizations"] =
        json!([{"name": "one", "tenants": ["a"], "rbac": {"viewers": groups}}]);
    config
}

fn tenants(count: usize) -> Value {
    let mut config = config();
    let tenants: Vec<String> = (0..count)
        .map(|number| format!("tenant-{number}"))
        .collect();
    config["organizations"] =
        json!([{"name": "one", "tenants": tenants, "rbac": {"viewers": ["readers"]}}]);
    config
}

/// Every tenant in every organization, and every group with a part of the data of each.
fn crossed(count: usize) -> Value {
    let mut config = config();
    let tenants: Vec<String> = (0..count)
        .map(|number| format!("tenant-{number}"))
        .collect();
    let groups: Vec<Value> = (0..count)
        .map(|number| json!({"group": format!("g{number}"), "labels": {"ns": [format!("v{number}")]}}))
        .collect();
    let organization = |number: usize| json!({"name": format!("o{number}"), "tenants": tenants, "rbac": {"viewers": groups}});
    config["organizations"] = (0..count).map(organization).collect();
    config
}

fn projects(count: usize) -> Value {
    let mut config = config();
    let project = |number: usize| {
        let resources: Vec<String> = (0..10).map(|r| format!("r{number}-{r}")).collect();
        json!({"project": format!("p{number}"), "resources": resources, "readers": ["readers"]})
    };
    let inline: Vec<Value> = (0..count).map(project).collect();
    config["projects"] = json!({"directory": {"inline": inline}});
    config
}

/// Unknown members, whose problems are more than are reported.
fn unknown(count: usize) -> Value {
    let mut config = config();
    let members: Map<String, Value> = (0..count)
        .map(|number| (format!("key{number}"), json!([{}])))
        .collect();
    config["limits"] = members.into();
    config
}

#[test]
fn time_and_memory_grow_with_the_length_of_the_document_alone() {
    type Make = fn(usize) -> Value;
    // With an index of who has which tenants.
    let indexed = |mut config: Value| {
        config["tenants"] = json!({"when_absent": "only", "all": "*"});
        config
    };
    let shapes: [(&str, usize, Make); 6] = [
        ("organizations of ten groups", 1_250, |count| {
            organizations(count, 10)
        }),
        ("short groups in one role", 5_000, short_groups),
        ("tenants in one role", 5_000, tenants),
        ("tenants, groups and scopes, all with all", 20, crossed),
        ("projects", 1_000, projects),
        ("unknown keys", 5_000, unknown),
    ];
    eprintln!("| what | how many | KiB | ms | peak | held |");
    for (name, count, make) in shapes {
        // What grows with the square of a number grows with the length all the same.
        let more = if name.ends_with("all with all") {
            count * 3
        } else {
            count * 8
        };
        let (few, many) = (cost(&indexed(make(count))), cost(&indexed(make(more))));
        for (count, cost) in [(count, &few), (more, &many)] {
            eprintln!(
                "| {name} | {count} | {} | {:.1} | {:.1} | {:.1} |",
                cost.bytes / 1_024,
                cost.time.as_secs_f64() * 1e3,
                cost.peak as f64 / cost.bytes as f64,
                cost.held as f64 / cost.bytes as f64,
            );
            assert!(
                cost.peak <= cost.bytes * 30,
                "{name}: {} at the peak",
                cost.peak
            );
            // A name of a few bytes takes many times its length.
            let most = if name.starts_with("short") { 14 } else { 6 };
            assert!(cost.held <= cost.bytes * most, "{name}: {} held", cost.held);
        }
        let (longer, slower) = (
            many.bytes as f64 / few.bytes as f64,
            many.time.as_secs_f64() / few.time.as_secs_f64(),
        );
        assert!(
            slower <= longer * 4.0,
            "{name}: {slower:.0} times as long for {longer:.0} times the length"
        );
    }
}

/// Documents of a mebibyte that are made to take as much as they can, most of them no good.
fn costly() -> Vec<(&'static str, Value)> {
    const BYTES: usize = 1 << 20;
    let with = |place: &str, value: Value| {
        let mut config = config();
        if let Some(found) = config.pointer_mut(place) {
            *found = value;
        }
        config
    };
    let keys = |count: usize| {
        let member = |number| (format!("k{number}"), json!(0));
        Value::Object((0..count).map(member).collect())
    };
    let long = "r".repeat(BYTES / 2);
    let mut long_role = config();
    long_role["roles"] = json!({(long.as_str()): vec!["read"; 256]});
    let mut long_roles = config();
    let name = |number: u8| "r".repeat(BYTES / 128) + &char::from(b'a' + number % 26).to_string();
    let roles = (0..60).map(|number| (name(number) + &"x".repeat(number.into()), json!(["read"])));
    long_roles["roles"] = Value::Object(roles.collect());
    let nobody = json!({"name": "", "tenants": [], "rbac": {}});
    long_roles["organizations"] = vec![nobody; 10_000].into();
    let mut many_roles = config();
    let letters = |number: u8| format!("{}{}", "r".repeat(60), char::from(b'a' + number % 26));
    let roles = (0..26).map(|number| (letters(number), json!(["read"])));
    many_roles["roles"] = Value::Object(roles.collect());
    let strange = json!({"name": "x", "tenants": [], "rbac": {"x": []}});
    many_roles["organizations"] = vec![strange; 20_000].into();
    let labels = json!({(long.as_str()): vec!["x"; 256]});
    let grant = json!([{"group": "g", "labels": labels}]);
    let mut anywhere = config();
    anywhere["x"] = vec![json!({"a": 1}); BYTES / 8].into();
    vec![
        ("a role with a long name", long_role),
        ("roles with long names in many organizations", long_roles),
        (
            "many organizations with roles that are not known",
            many_roles,
        ),
        (
            "a label with a long name",
            with("/organizations/0/rbac/viewers", grant),
        ),
        ("unknown keys", with("/providers/0/jwks", keys(BYTES / 12))),
        (
            "unknown keys of a provider",
            with("/providers/0", keys(BYTES / 12)),
        ),
        (
            "empty organizations",
            with("/organizations", vec![json!({}); BYTES / 3].into()),
        ),
        (
            "organizations that are numbers",
            with("/organizations", vec![0; BYTES / 2].into()),
        ),
        (
            "empty tenants",
            with("/organizations/0/tenants", vec![""; BYTES / 3].into()),
        ),
        ("objects that nobody asked for", anywhere),
    ]
}

#[test]
fn no_document_takes_more_than_its_length_allows() {
    eprintln!("| what | KiB | ms | peak | held |");
    for (name, document) in costly() {
        let cost = cost(&document);
        eprintln!(
            "| {name} | {} | {:.1} | {:.1} | {:.1} |",
            cost.bytes / 1_024,
            cost.time.as_secs_f64() * 1e3,
            cost.peak as f64 / cost.bytes as f64,
            cost.held as f64 / cost.bytes as f64,
        );
        assert!(
            cost.peak <= cost.bytes * 30,
            "{name}: {} at the peak",
            cost.peak
        );
        assert!(
            cost.held <= cost.bytes * 6 + 100_000,
            "{name}: {} held",
            cost.held
        );
        let allowed = Duration::from_millis(400).mul_f64(cost.bytes as f64 / f64::from(1 << 20));
        assert!(cost.time <= allowed, "{name}: {:?}", cost.time);
    }
}

#[test]
fn a_document_may_have_eight_mebibytes() {
    let document = organizations(10_000, 10).to_string().into_bytes();
    let padded = |length: usize| {
        let mut document = document.clone();
        document.resize(length, b' ');
        document
    };
    assert_eq!(
        parse(&padded(MAX_DOCUMENT)).unwrap().policy.tenants(),
        10_000
    );
    let problems = parse(&padded(MAX_DOCUMENT + 1)).unwrap_err();
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["has 8388609 bytes: a configuration has at most 8388608"]
    );
}

#[test]
fn a_document_is_nested_as_deeply_as_it_must_be() {
    for (open, close) in [("{\"x\":", "}"), ("[", "]")] {
        let deep = |levels: usize| {
            let (open, close) = (open.repeat(levels), close.repeat(levels));
            format!("{{\"x\":{open}1{close}}}")
        };
        let text = |levels: usize| parse(deep(levels).as_bytes()).err().unwrap()[0].to_string();
        assert!(text(31).contains("unknown key"), "{}", text(31));
        assert_eq!(text(32), "nested too deeply");
        assert_eq!(text(500_000), "nested too deeply");
    }
}

#[test]
fn lists_and_names_of_a_configuration_are_bounded() {
    type Put = fn(&mut Value, Vec<String>);
    let bounds: [(&str, usize, Put); 10] = [
        ("providers", 64, |config, names| {
            let provider = config["providers"][0].clone();
            let named = |name: String| {
                let mut provider = provider.clone();
                merge(
                    &mut provider,
                    json!({"name": name, "issuer": name, "shared_groups": true}),
                );
                provider
            };
            config["providers"] = names.into_iter().map(named).collect();
        }),
        ("providers[0].audiences", 256, |config, names| {
            config["providers"][0]["audiences"] = names.into();
        }),
        ("providers[0].clients", 256, |config, names| {
            config["providers"][0]["clients"] = names.into();
        }),
        ("providers[0].token_types", 256, |config, names| {
            config["providers"][0]["token_types"] = names.into();
        }),
        ("providers[0].claims.groups", 256, |config, names| {
            let source = |name| json!({"path": [name]});
            let sources: Vec<Value> = names.into_iter().map(source).collect();
            config["providers"][0]["claims"] = json!({"groups": sources});
        }),
        ("roles", 64, |config, names| {
            let letters = |name: String| {
                name.replace(|c: char| c.is_ascii_digit(), "")
                    + &{
                        let number: u32 = name[1..].parse().unwrap();
                        let letter =
                            |by: u32| char::from_u32(u32::from('a') + number / by % 26).unwrap();
                        [letter(676), letter(26), letter(1)]
                            .iter()
                            .collect::<String>()
                    }
            };
            let role = |name| (letters(name), json!(["read"]));
            config["roles"] = Value::Object(names.into_iter().map(role).collect());
        }),
        (
            "organizations[0].rbac.viewers[0].labels",
            32,
            |config, names| {
                let label = |name| (name, json!(["x"]));
                let labels: Map<String, Value> = names.into_iter().map(label).collect();
                config["organizations"][0]["rbac"]["viewers"] =
                    json!([{"group": "g", "labels": labels}]);
            },
        ),
        (
            "organizations[0].rbac.viewers[0].labels.ns",
            256,
            |config, names| {
                config["organizations"][0]["rbac"]["viewers"] =
                    json!([{"group": "g", "labels": {"ns": names}}]);
            },
        ),
        ("projects.directory.inline", 10_000, |config, names| {
            let project =
                |name| json!({"project": name, "resources": ["r"], "readers": ["readers"]});
            let projects: Vec<Value> = names.into_iter().map(project).collect();
            config["projects"] = json!({"directory": {"inline": projects}});
        }),
        ("backends.tempo.attributes", 256, |config, names| {
            let attribute = |name: String| (name.clone(), json!(name));
            let attributes: Map<String, Value> = names.into_iter().map(attribute).collect();
            config["backends"]["tempo"] = json!({"attributes": attributes});
        }),
    ];
    for (place, most, put) in bounds {
        let with = |count: usize| {
            let mut config = config();
            put(
                &mut config,
                (0..count).map(|number| format!("a{number}")).collect(),
            );
            parse(config.to_string().as_bytes())
        };
        if let Err(problems) = with(most) {
            panic!("{place}: {}", problems[0]);
        }
        let problems = with(most + 1).unwrap_err();
        assert_eq!(problems[0].place, place);
        assert!(
            problems[0]
                .text
                .starts_with(&format!("has more than {most} ")),
            "{place}"
        );
    }
}

#[test]
fn problems_are_told_until_there_are_too_many_and_none_at_length() {
    let problems = parse(unknown(1_000).to_string().as_bytes()).unwrap_err();
    assert_eq!(problems.len(), 65);
    assert_eq!(problems[64].to_string(), "and 936 more problems");
    let mut config = config();
    config["limits"] = json!({"k".repeat(100_000): 1, "wait": "x".repeat(100_000)});
    let twice = "k".repeat(100_000);
    let twice = format!("{{\"{twice}\":1,\"{twice}\":1}}");
    let documents = [config.to_string(), twice];
    for problem in documents
        .iter()
        .flat_map(|document| parse(document.as_bytes()).unwrap_err())
    {
        assert!(
            problem.to_string().chars().count() <= 1_030,
            "{}",
            problem.text.len()
        );
    }
}

/// How many bytes one worker holds more after as many reloads, for each.
fn growth(reloads: u64, document: impl Fn(u64) -> Value) -> usize {
    let store = Rc::new(RefCell::new(Store::default()));
    let mut host = Host::new(Box::new(InModule), &store, NOW, UPTIME, 1);
    let mut load = |number: u64| {
        let document = document(number).to_string();
        assert!(host.configure(number, &document, &[]));
        host.take_done();
    };
    load(1);
    load(2);
    let before = HELD.with(Cell::get);
    for number in 3..3 + reloads {
        load(number);
    }
    (HELD.with(Cell::get) - before) / usize::try_from(reloads).unwrap()
}

#[test]
fn configurations_that_drain_share_what_did_not_change() {
    let base = organizations(10_000, 1);
    // Another realm; then another group in one organization each; then one more tenant.
    let realm = growth(10, |number| {
        let mut config = base.clone();
        config["realm"] = json!(number.to_string());
        config
    });
    assert!(realm < 20_000, "{realm} bytes for another realm");
    let group = growth(10, |number| {
        let mut config = base.clone();
        config["organizations"][5]["rbac"]["viewers"] = json!([format!("new-{number}")]);
        config
    });
    let tenant = growth(10, |number| {
        let mut config = base.clone();
        config["organizations"][5]["tenants"] = json!(["tenant-5", format!("new-{number}")]);
        config
    });
    let all = growth(10, |number| {
        let mut config = base.clone();
        let organizations = config["organizations"].as_array_mut().unwrap();
        let name = format!("new-{number}");
        organizations.insert(
            0,
            json!({"name": name, "tenants": [name], "rbac": {"viewers": [name]}}),
        );
        config
    });
    eprintln!("bytes a reload: realm {realm}, a group {group}, a tenant {tenant}, all {all}");
    assert!(group < all, "{group} of {all}");
    assert!(tenant < all, "{tenant} of {all}");
    let length = base.to_string().len();
    assert!(all < length * 6, "{all} bytes for a document of {length}");
}
