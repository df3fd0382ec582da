//! What the paths of a request cost, in instructions, which do not depend on how busy a machine is.
//!
//! Each row runs in valgrind, once. It fails if it takes a tenth more than `instructions.txt` says,
//! which holds the figures by the version of the compiler, because another one writes other code.
//! `SCOPEGATE_WRITE=1` writes those of this compiler. Without valgrind, which `VALGRIND` names, or
//! with a compiler of which there are none, the rows are skipped. They are figures of a build for
//! tests, in which the gate itself is optimised and some of what it uses is not.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::{NOW, Request, Token, UPTIME, config};
use libtest_mimic::{Arguments, Failed, Trial};
use scopegate::authn::keys::InModule;
use scopegate::worker::{
    Action, Effect, Event, HeaderBlock, Reading, RootId, Sink, StreamId, Worker,
};
use serde_json::{Value, json};

/// Names the row in a process that is to run it.
const ROW: &str = "SCOPEGATE_ROW";

/// How often valgrind runs the request of a row. The figure is that of one.
const TIMES: usize = 10;

/// What runs besides: the same request, without valgrind counting, so that what is done once only
/// has been done.
const BEFORE: usize = 3;

/// Counts effects, so that nobody leaves them out.
#[derive(Default)]
struct Effects(usize);

impl Sink for Effects {
    fn emit(&mut self, effect: Effect<'_>) {
        self.0 += usize::from(black_box(&effect).stream().is_some());
    }
}

/// A configuration, and the requests that are put to it one after the other.
struct Row {
    name: &'static str,
    configuration: fn() -> Value,
    /// The request of that number.
    request: fn(usize) -> Request,
}

fn without_record() -> Value {
    let mut configuration = config();
    configuration["audit"] = json!({"log": "none", "access_log": false});
    // Two thousand groups make a token of 30 KiB.
    configuration["limits"] = json!({"token_bytes": 49_152});
    configuration
}

fn scoped() -> Value {
    let mut configuration = without_record();
    let viewer = json!({"group": "readers", "labels": {"namespace": ["web", "shop"]}});
    configuration["organizations"][0]["rbac"] = json!({"viewers": [viewer]});
    configuration
}

fn of_64_tenants() -> Value {
    let mut configuration = without_record();
    let tenants: Vec<String> = (0..64).map(|number| format!("tenant-{number}")).collect();
    configuration["organizations"][0]["tenants"] = json!(tenants);
    configuration
}

fn of_10_000_organizations() -> Value {
    let mut configuration = without_record();
    let organizations: Vec<Value> = (0..10_000)
        .map(|number| {
            let name = format!("organization-{number}");
            json!({"name": name, "tenants": [format!("tenant-{number}")], "rbac": {"viewers": [name]}})
        })
        .collect();
    let list = configuration["organizations"].as_array_mut().unwrap();
    list.extend(organizations);
    configuration
}

fn same(_: usize) -> Request {
    Request::bearing(&Token::new().build())
}

/// A token that was never seen, with each request.
fn new(number: usize) -> Request {
    Request::bearing(&Token::new().claim("jti", number.to_string()).build())
}

fn query(_: usize) -> Request {
    let query =
        "sum by (pod) (rate({namespace=\"shop\", app=~\"cart|till\"} |= \"error\" | json [5m]))";
    let path = format!(
        "/loki/api/v1/query_range?start=1&end=2&query={}",
        query.replace(' ', "%20")
    );
    same(0).set(":path", path)
}

fn all_64_tenants(_: usize) -> Request {
    let tenants: Vec<String> = (0..64).map(|number| format!("tenant-{number}")).collect();
    same(0).set("x-scope-orgid", tenants.join("|"))
}

fn of_2_000_groups(number: usize) -> Request {
    let mut groups: Vec<String> = (0..1_999).map(|group| format!("group-{group}")).collect();
    groups.push("readers".to_owned());
    Request::bearing(
        &Token::new()
            .claim("groups", groups)
            .claim("jti", number.to_string())
            .build(),
    )
}

fn of_2_000_groups_again(_: usize) -> Request {
    of_2_000_groups(0)
}

fn foreign_tenant(_: usize) -> Request {
    same(0).set("x-scope-orgid", "elsewhere")
}

fn forged(number: usize) -> Request {
    let token = Token::new()
        .claim("jti", number.to_string())
        .forged_by("p256-b", "ES256");
    Request::bearing(&token.build())
}

const ROWS: [Row; 10] = [
    Row {
        name: "warm",
        configuration: without_record,
        request: same,
    },
    Row {
        name: "warm, with record",
        configuration: config,
        request: same,
    },
    Row {
        name: "cold, ES256",
        configuration: without_record,
        request: new,
    },
    Row {
        name: "scoped LogQL",
        configuration: scoped,
        request: query,
    },
    Row {
        name: "64 tenants",
        configuration: of_64_tenants,
        request: all_64_tenants,
    },
    Row {
        name: "2,000 groups, warm",
        configuration: without_record,
        request: of_2_000_groups_again,
    },
    Row {
        name: "2,000 groups, cold",
        configuration: without_record,
        request: of_2_000_groups,
    },
    Row {
        name: "10,000 organizations",
        configuration: of_10_000_organizations,
        request: same,
    },
    Row {
        name: "refused: a foreign tenant",
        configuration: config,
        request: foreign_tenant,
    },
    Row {
        name: "refused: a bad signature",
        configuration: config,
        request: forged,
    },
];

/// A worker, and how its next request is put to it.
struct Case {
    worker: Worker,
    effects: Effects,
    stream: u64,
    /// The end of the last request that was counted.
    action: Option<Action>,
}

/// What valgrind counts: all that a worker does with a request, from its first event to its last.
/// It has a name that nobody mangles, by which valgrind knows it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn scopegate_counted_request(case: &mut Case, headers: &HeaderBlock) {
    case.action = Some(case.put(headers));
}

impl Case {
    fn of(row: &Row) -> Self {
        let mut case = Self {
            worker: Worker::new(Box::new(InModule), 1),
            effects: Effects::default(),
            stream: 0,
            action: None,
        };
        let document = (row.configuration)().to_string();
        let event = Event::Configured {
            root: ROOT,
            document: document.as_bytes(),
            environment: &[],
        };
        let taken = case.worker.on(event, Some(EXACT), &mut case.effects);
        assert_eq!(taken, Action::Continue, "{}", row.name);
        case.worker
            .on(Event::Tick { root: ROOT }, Some(EXACT), &mut case.effects);
        case
    }

    fn put(&mut self, headers: &HeaderBlock) -> Action {
        self.stream += 1;
        let stream = StreamId(self.stream);
        let opened = Event::Opened { stream, root: ROOT };
        self.worker.on(opened, None, &mut self.effects);
        let head = Event::Head {
            stream,
            headers,
            end: true,
            peer: &|| None,
            entrance: &|| None,
        };
        let mut action = self.worker.on(head, None, &mut self.effects);
        if action == Action::Exact {
            action = self.worker.on(head, Some(EXACT), &mut self.effects);
        }
        self.worker
            .on(Event::Gone { stream }, None, &mut self.effects);
        action
    }
}

const ROOT: RootId = RootId(1);

const EXACT: Reading = Reading {
    wall: Some(NOW * 1_000_000_000),
    mono: Some(UPTIME * 1_000_000),
};

/// Puts the requests of a row. Its own process, in valgrind.
fn run(row: &Row) {
    let headers: Vec<HeaderBlock> = (0..BEFORE + TIMES)
        .map(|number| {
            let fields = (row.request)(number).fields();
            let pairs: Vec<(&[u8], &[u8])> = fields
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect();
            HeaderBlock::of(&pairs)
        })
        .collect();
    let wanted = if row.name.starts_with("refused") {
        Action::Pause
    } else {
        Action::Continue
    };
    let mut case = Case::of(row);
    for (number, headers) in headers.iter().enumerate() {
        if number < BEFORE {
            case.action = Some(case.put(headers));
        } else {
            scopegate_counted_request(&mut case, headers);
        }
        assert_eq!(case.action, Some(wanted), "{}", row.name);
    }
}

fn valgrind() -> OsString {
    let named = std::env::var_os("VALGRIND").filter(|name| !name.is_empty());
    named.unwrap_or_else(|| "valgrind".into())
}

/// The instructions of one request.
fn counted(row: &Row) -> Result<u64, Failed> {
    let output = Command::new(valgrind())
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=scopegate_counted_request")
        .arg(std::env::current_exe()?)
        .env(ROW, row.name)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(said.into_owned().into());
    }
    let mut lines = said
        .lines()
        .filter_map(|line| line.split_once("Collected :"));
    let (_, figure) = lines.next().ok_or_else(|| said.clone().into_owned())?;
    let figure: u64 = figure.trim().parse()?;
    Ok(figure / u64::try_from(TIMES)?)
}

/// The figures, by the compiler and the name of the row.
type Figures = BTreeMap<String, BTreeMap<String, u64>>;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt")
}

/// Lines of a figure and a name, below the version of a compiler.
fn figures() -> Figures {
    let mut figures = Figures::new();
    let mut compiler = String::new();
    for line in std::fs::read_to_string(file()).unwrap_or_default().lines() {
        if let Some(version) = line.strip_prefix("rustc ") {
            version.clone_into(&mut compiler);
        } else if let Some((figure, name)) = line.trim().split_once(' ') {
            let figure = figure.parse().unwrap();
            figures
                .entry(compiler.clone())
                .or_default()
                .insert(name.trim().to_owned(), figure);
        }
    }
    figures
}

fn write(figures: &Figures) {
    let mut text = String::new();
    for (compiler, rows) in figures {
        writeln!(text, "rustc {compiler}").unwrap();
        for (name, figure) in rows {
            writeln!(text, "{figure:>12}  {name}").unwrap();
        }
    }
    std::fs::write(file(), text).unwrap();
}

/// The version of the compiler that has built this.
fn compiler() -> Option<String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    Some(said.split(' ').nth(1)?.to_owned())
}

/// Whether a row costs what it did.
fn held(row: &Row, known: u64) -> Result<(), Failed> {
    let figure = counted(row)?;
    println!("{}: {figure} instructions, where it took {known}", row.name);
    if figure > known + known / 10 {
        return Err(format!("a request takes {figure} instructions, where it took {known}").into());
    }
    Ok(())
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(ROW) {
        let row = ROWS.iter().find(|row| row.name == name);
        run(row.unwrap());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let compiler = compiler().unwrap_or_default();
    let mut all = figures();
    let valgrind = Command::new(valgrind()).arg("--version").output();
    let valgrind = valgrind.is_ok_and(|output| output.status.success());
    if std::env::var_os("SCOPEGATE_WRITE").is_some() && !arguments.list {
        let rows = ROWS
            .iter()
            .map(|row| (row.name.to_owned(), counted(row).unwrap()));
        all.insert(compiler, rows.collect());
        write(&all);
        return ExitCode::SUCCESS;
    }
    let known = all.remove(&compiler).unwrap_or_default();
    let tests = ROWS.iter().map(|row| {
        let figure = known.get(row.name).copied();
        let test = Trial::test(row.name, move || held(row, figure.unwrap_or_default()));
        test.with_ignored_flag(!valgrind || figure.is_none())
    });
    libtest_mimic::run(&arguments, tests.collect()).exit_code()
}
