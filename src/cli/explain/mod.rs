//! `scopegate explain`: what a gate does with one request, and why.
//!
//! A worker receives the configuration, the keys and the request as a host would hand them in
//! ([`rehearsal`]), so the verdict is the gate's own. The documents that it asks servers for come
//! from files, from the servers themselves, or from what stands in for them ([`sources`],
//! [`stand_in`]). [`steps`] describes the way to the verdict, and [`report`] prints it. No token
//! is printed ([`presented`]).

mod call;
mod holders;
mod insertions;
mod parameters;
mod presented;
mod rehearsal;
mod report;
mod request;
mod sources;
mod stage;
mod stand_in;
mod steps;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Map, Value};

use super::check::{self, Loaded, Unusable};
use super::console::{Console, Format, Web};
use super::outcome::Outcome;
use crate::authn::json;
use crate::authn::token;
use crate::authn::verifier::Provider;
use crate::config::{Config, Environment, KeySource, Mode};
use crate::words::credential::Purpose;
use crate::words::time::Timestamp;
use crate::words::verdict::Verdict;
use crate::worker::Level;
use crate::worker::clocks::EARLIEST;
use holders::Holders;
use parameters::{Changed, changed};
use presented::Presented;
use rehearsal::{Fate, Rehearsal, Stage};
use report::Report;
use request::Request;
use sources::Sources;
use stand_in::StandIn;
use steps::Context;

/// The deepest nesting of claims, the same as in tokens.
const MAX_DEPTH: usize = 16;

/// How the token is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum As {
    /// Authorization: Bearer
    #[default]
    Bearer,
    /// As the password of Authorization: Basic
    Basic,
    /// In the header that the configuration names for ID tokens
    IdToken,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("caller").args(["token_file", "claims"]),
    after_help = "\
The same decision as in the proxy is made here, and told step by step: the verdict, what the client
gets, what the backend sees. The configuration may stand in any file that `scopegate check` takes.

Keys and organizations are fetched from their servers, unless --jwks, --organizations or --offline
says otherwise. No token stands on the command line, and none is printed. With --claims there need
not be one: the claims are signed with a throw-away key that stands in for the provider's.

Exit status: 0 the request is let through or answered, 1 it is refused (or would be, in mode: report),
or the configuration has problems, 2 wrong use.

Examples:
  scopegate explain scopegate.yaml --token-file token --tenant acme \\
      --path /loki/api/v1/query_range --param 'query={app=\"web\"}'
  scopegate explain scopegate.yaml --claims claims.json --offline --tenant acme \\
      --method POST --path /loki/api/v1/push
  scopegate explain scopegate.yaml --request captured.http --jwks keys.json --at 2026-05-01T12:00:00Z"
)]
pub(super) struct Arguments {
    /// Where the configuration is; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Which one, counted from 1, if the file has several.
    #[arg(long, value_name = "N")]
    number: Option<usize>,

    /// A file with the caller's token; - is standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// A file with claims, as JSON, that make a token; - is standard input.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,

    /// The provider that the claims are of, if they have no iss.
    #[arg(long, value_name = "NAME", requires = "claims")]
    provider: Option<String>,

    /// How the token is sent.
    #[arg(long = "as", value_enum, default_value_t, requires = "caller")]
    way: As,

    /// The X-Scope-OrgID header.
    #[arg(long, value_name = "A|B", conflicts_with = "request")]
    tenant: Option<String>,

    /// The method; POST where there is a body, else GET.
    #[arg(long, conflicts_with = "request")]
    method: Option<String>,

    /// The path, with the query string if there is one.
    #[arg(long, required_unless_present = "request", conflicts_with = "request")]
    path: Option<String>,

    /// A parameter of the query string, not escaped.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,

    /// A parameter of a form in the body, not escaped.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, conflicts_with_all = ["request", "body_file"])]
    form: Vec<(String, String)>,

    /// A file with the body; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    body_file: Option<PathBuf>,

    /// A further header.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// The call is made by gRPC.
    #[arg(long, conflicts_with = "request")]
    grpc: bool,

    /// A file with the whole request as HTTP/1.1 writes it; - is standard input.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,

    /// A provider's keys, as a JWK Set; without a name those of the token's issuer.
    #[arg(long, value_name = "[NAME=]FILE")]
    jwks: Vec<String>,

    /// What organizations_from would bring; - is standard input.
    #[arg(long, value_name = "FILE")]
    organizations: Option<PathBuf>,

    /// What the directory of projects would answer.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..=599))]
    directory: Option<u16>,

    /// Ask no server.
    #[arg(long)]
    offline: bool,

    /// The authorities, in PEM, of the servers' certificates; else the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    ca_file: Option<PathBuf>,

    /// When it is: RFC 3339 or seconds since 1970; else now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// Refuses credentials among the headers of the command line. A parser of arguments could not do
/// this, because its errors repeat what was typed.
fn no_credentials(arguments: &Arguments) -> io::Result<()> {
    let mut names = arguments.header.iter().map(|(name, _)| name.as_str());
    let mut values = arguments.header.iter().map(|(_, value)| value.as_str());
    if names.any(|name| matches!(name, "authorization" | "proxy-authorization"))
        || values.any(looks_like_token)
    {
        return Err(wrong(
            "a credential does not belong on a command line: use --token-file or --request",
        ));
    }
    Ok(())
}

/// Whether a text looks like a JWS in compact form (RFC 7515 §7.1), whose header is a JSON object.
fn looks_like_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

/// Reads the file of `--token-file`. An error does not repeat the name, because that may be a
/// token put there by mistake.
fn read_token(path: &Path, console: &mut Console<'_>) -> io::Result<Vec<u8>> {
    let read = console.read(path);
    read.map_err(|error| {
        let why = error.kind();
        wrong(format!("the file of --token-file cannot be read: {why}"))
    })
}

fn time(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse().ok().or_else(|| {
        let instant = jiff::Timestamp::from_str(text).ok()?;
        // Any time before 1970 is refused below anyhow.
        Some(u64::try_from(instant.as_second()).unwrap_or_default())
    });
    let seconds = seconds.ok_or_else(|| {
        "write a time like 2026-05-01T12:00:00Z, or seconds since 1970".to_owned()
    })?;
    let time = Timestamp::from_secs(seconds);
    if time < EARLIEST {
        return Err("a gate believes no clock that shows a time before 2026".to_owned());
    }
    Ok(time)
}

/// Explains one request.
///
/// # Errors
/// The arguments contradict one another, a file cannot be used, or the output cannot be written.
pub(super) fn run(
    arguments: &Arguments,
    format: Format,
    console: &mut Console<'_>,
) -> io::Result<Outcome> {
    only_one_from_input(arguments)?;
    no_credentials(arguments)?;
    let bytes = console.read(&arguments.file)?;
    let name = name_of(&arguments.file);
    let own = std::mem::take(&mut console.variables);
    let loaded = check::load(name.clone(), bytes, arguments.number, &own, console.styled);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(unusable) => return unusable_file(&name, unusable, console),
    };
    let mut request = read_request(arguments, console)?;
    let mut scene = Scene::new(&loaded, arguments, console)?;
    scene.read_caller(&mut request, console)?;
    scene.read_keys(&request, console)?;
    scene.read_organizations(console)?;
    let authorities = match &arguments.ca_file {
        Some(path) => Some(console.read(path)?),
        None => None,
    };
    let explained = scene.explain(&request, authorities, console.web)?;
    let text = match format {
        Format::Text => explained.report(&request).text(console.styled),
        Format::Json => explained.report(&request).json(),
    };
    console.output.write_all(text.as_bytes())?;
    Ok(match explained.rehearsal.verdict {
        Some(Verdict::Denied(_)) => Outcome::Problems,
        Some(Verdict::Allowed | Verdict::Answered(_)) | None => Outcome::Good,
    })
}

fn name_of(path: &Path) -> String {
    if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

fn wrong(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

fn only_one_from_input(arguments: &Arguments) -> io::Result<()> {
    let files = [
        Some(&arguments.file),
        arguments.token_file.as_ref(),
        arguments.claims.as_ref(),
        arguments.body_file.as_ref(),
        arguments.request.as_ref(),
        arguments.organizations.as_ref(),
    ];
    let files = files.into_iter().flatten();
    let piped = files.filter(|path| path.as_os_str() == "-").count();
    if piped > 1 {
        return Err(wrong("only one file can come from standard input"));
    }
    Ok(())
}

/// Says why the configuration in a file cannot be used.
fn unusable_file(name: &str, unusable: Unusable, console: &mut Console<'_>) -> io::Result<Outcome> {
    match unusable {
        Unusable::Nothing => Err(wrong(format!(
            "there is no configuration of the gate in {name}"
        ))),
        Unusable::Several(lines) => {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            Err(wrong(format!(
                "there are several configurations in {name}, on the lines {}: choose one by \
                 --number",
                lines.join(", ")
            )))
        }
        Unusable::Problems(problems) => {
            for problem in problems {
                writeln!(console.output, "{problem}\n")?;
            }
            writeln!(
                console.output,
                "With this configuration the gate answers everything with 503."
            )?;
            Ok(Outcome::Problems)
        }
    }
}

/// The request as the arguments describe it, without the token of `--token-file` or `--claims`.
fn read_request(arguments: &Arguments, console: &mut Console<'_>) -> io::Result<Request> {
    let mut request = if let Some(path) = &arguments.request {
        let text = console.read(path)?;
        let parsed = Request::parse(&text);
        parsed.map_err(|error| wrong(format!("{}: {error}", name_of(path))))?
    } else {
        let path = arguments.path.clone().unwrap_or_default();
        let mut request = Request {
            path: path.into_bytes(),
            authority: Some(b"localhost".to_vec()),
            ..Request::default()
        };
        if let Some(path) = &arguments.body_file {
            request.body = console.read(path)?;
        }
        if !arguments.form.is_empty() {
            let mut form = String::new();
            for (name, value) in &arguments.form {
                crate::scoping::form::push_pair(&mut form, name, value);
            }
            request.body = form.into_bytes();
            request.header(b"content-type", b"application/x-www-form-urlencoded");
        }
        if arguments.grpc {
            request.header(b"content-type", b"application/grpc");
            request.header(b"te", b"trailers");
        }
        let posts = arguments.grpc || !request.body.is_empty();
        let method = if posts { "POST" } else { "GET" };
        let method = arguments.method.as_deref().unwrap_or(method);
        request.method = method.as_bytes().to_vec();
        if let Some(tenant) = &arguments.tenant {
            request.header(b"x-scope-orgid", tenant.as_bytes());
        }
        request
    };
    for (name, value) in &arguments.header {
        request.header(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in &arguments.param {
        request.parameter(name, value);
    }
    Ok(request)
}

/// The gate and everything that it would have around it.
struct Scene<'a> {
    arguments: &'a Arguments,
    config: &'a Config,
    /// The configuration for the gate, with keys and other parts replaced where something stands
    /// in for them.
    document: Value,
    /// The text of the configuration as it was loaded; it is used as long as nothing in `document`
    /// has been replaced.
    json: &'a str,
    is_changed: bool,
    environment: &'a BTreeMap<String, String>,
    now: u64,
    /// Key sets from files and stand-ins, by the position of their provider.
    keys: BTreeMap<usize, Vec<u8>>,
    organizations: Option<Vec<u8>>,
    notes: Vec<String>,
}

impl<'a> Scene<'a> {
    fn new(
        loaded: &'a Loaded,
        arguments: &'a Arguments,
        console: &Console<'_>,
    ) -> io::Result<Self> {
        let document = serde_json::from_str(&loaded.json).map_err(io::Error::other)?;
        let now = arguments
            .at
            .map(|at| at.as_secs().saturating_mul(1_000_000_000));
        Ok(Self {
            arguments,
            config: &loaded.config,
            document,
            json: &loaded.json,
            is_changed: false,
            environment: &loaded.environment,
            now: now.unwrap_or(console.now),
            keys: BTreeMap::new(),
            organizations: None,
            notes: Vec::new(),
        })
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    /// Adds the caller's token to the request.
    fn read_caller(&mut self, request: &mut Request, console: &mut Console<'_>) -> io::Result<()> {
        let arguments = self.arguments;
        let token = if let Some(path) = &arguments.token_file {
            let token = read_token(path, console)?;
            let token = token.trim_ascii();
            // The file may hold the whole value of a header, as it was copied.
            let token = token.strip_prefix(b"Bearer ").unwrap_or(token);
            token.to_vec()
        } else if let Some(path) = &arguments.claims {
            let claims = console.read(path)?;
            self.sign(path, &claims)?
        } else {
            return Ok(());
        };
        if token.is_empty() {
            return Err(wrong("the file of the token is empty"));
        }
        match arguments.way {
            As::Bearer => {
                request.header(b"authorization", &[b"Bearer ", token.as_slice()].concat());
            }
            As::Basic => {
                use base64::Engine as _;
                let pair = [b"token:", token.as_slice()].concat();
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                request.header(b"authorization", format!("Basic {pair}").as_bytes());
            }
            As::IdToken => {
                let name = self.config.credentials.id_token_header.as_ref();
                let name = name.ok_or_else(|| {
                    wrong("the configuration names no header for ID tokens: credentials.id_token_header")
                })?;
                request.header(name.as_str().as_bytes(), &token);
            }
        }
        Ok(())
    }

    /// Signs a token with these claims, and keeps a key set that stands in for its provider's.
    fn sign(&mut self, path: &Path, claims: &[u8]) -> io::Result<Vec<u8>> {
        let problem = |text: &str| wrong(format!("{}: {text}", name_of(path)));
        // The gate reads a token strictly, and so must this: a claim may not appear twice.
        json::parse_object(claims, MAX_DEPTH)
            .map_err(|error| problem(&format!("no JSON object of claims: {error}")))?;
        let claims: Map<String, Value> = serde_json::from_slice(claims)
            .map_err(|error| problem(&format!("no JSON object of claims: {error}")))?;
        let position = self.provider_of(&claims).map_err(|text| problem(&text))?;
        let provider = self.config.providers.get(position);
        let provider = provider.ok_or_else(|| problem("there is no such provider"))?;
        let purpose = match self.arguments.way {
            As::Bearer | As::Basic => Purpose::Access,
            As::IdToken => Purpose::Identity,
        };
        let made = StandIn::sign(&provider.rules, claims, purpose, self.timestamp());
        let made = made.map_err(|text| problem(&text))?;
        let name = &provider.rules.name;
        self.notes.push(format!(
            "the claims are signed with a throw-away {} key, which stands in for the keys of \
             {name}: that the provider would issue them is not shown",
            made.algorithm.name()
        ));
        if !made.filled.is_empty() {
            self.notes.push(format!(
                "the claims lacked what every token has, which was filled in: {}",
                made.filled.join(", ")
            ));
        }
        match &provider.source {
            KeySource::Uri(_) => {
                let keys = made.jwks.to_string().into_bytes();
                self.keys.insert(position, keys);
            }
            KeySource::Inline(_) => self.put_inline(position, made.jwks),
        }
        Ok(made.token.into_bytes())
    }

    fn put_inline(&mut self, position: usize, keys: Value) {
        let place = format!("/providers/{position}/jwks/inline");
        if let Some(inline) = self.document.pointer_mut(&place) {
            *inline = keys;
            self.is_changed = true;
        }
    }

    /// The position of the provider that the claims belong to.
    fn provider_of(&self, claims: &Map<String, Value>) -> Result<usize, String> {
        let providers = &self.config.providers;
        if let Some(name) = &self.arguments.provider {
            return self.named(name);
        }
        match (claims.get("iss"), providers.as_slice()) {
            (None, [_]) => Ok(0),
            (None, _) => {
                Err("no iss, and there are several providers: choose one by --provider".to_owned())
            }
            (Some(issuer), _) => {
                let issuer = issuer.as_str().unwrap_or_default();
                let of = |rules: &Provider| rules.issuers.find(issuer).is_some();
                let found = providers.iter().position(|one| of(&one.rules));
                // If the issuer is unknown, any provider will do: the gate refuses the token.
                Ok(found.unwrap_or_default())
            }
        }
    }

    fn named(&self, name: &str) -> Result<usize, String> {
        let mut providers = self.config.providers.iter();
        let found = providers.position(|one| one.rules.name == name);
        found.ok_or_else(|| {
            let names = self.config.providers.iter();
            let names: Vec<&str> = names.map(|one| one.rules.name.as_str()).collect();
            format!(
                "there is no provider {name}: known are {}",
                names.join(", ")
            )
        })
    }

    /// Reads the key sets of `--jwks`.
    fn read_keys(&mut self, request: &Request, console: &mut Console<'_>) -> io::Result<()> {
        for given in &self.arguments.jwks {
            let named = given.split_once('=').and_then(|(name, file)| {
                let known = self.named(name).ok()?;
                Some((known, file))
            });
            let (position, file) = match named {
                Some(named) => named,
                None => (self.provider_of_token(request)?, given.as_str()),
            };
            let path = Path::new(file);
            let keys = console.read(path)?;
            let Some(provider) = self.config.providers.get(position) else {
                continue;
            };
            let name = provider.rules.name.clone();
            match &provider.source {
                KeySource::Uri(_) => {
                    self.keys.insert(position, keys);
                }
                KeySource::Inline(_) => {
                    let keys = serde_json::from_slice(&keys)
                        .map_err(|error| wrong(format!("{file}: {error}")))?;
                    self.put_inline(position, keys);
                }
            }
            self.notes
                .push(format!("the keys of {name} are those of {file}"));
        }
        Ok(())
    }

    /// The position of the provider whose token the request carries. If there is only one
    /// provider, it is that one.
    fn provider_of_token(&self, request: &Request) -> io::Result<usize> {
        let providers = &self.config.providers;
        if let [_] = providers.as_slice() {
            return Ok(0);
        }
        let presented = Presented::of(request, &self.config.credentials);
        let issued_by = presented.tokens().find_map(|token| {
            let claims = token::peek(token)?;
            let issuer = token::issuer(&claims).ok()?;
            let mut providers = providers.iter();
            providers.position(|one| one.rules.issuers.find(issuer).is_some())
        });
        issued_by.ok_or_else(|| {
            wrong("--jwks: the token tells of no provider here: write NAME=FILE, with the provider's name")
        })
    }

    /// Reads the organizations of `--organizations`.
    fn read_organizations(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let Some(path) = &self.arguments.organizations else {
            return Ok(());
        };
        let Some(from) = &self.config.organizations_from else {
            return Err(wrong("the configuration has no organizations_from"));
        };
        let document = console.read(path)?;
        let name = name_of(path);
        self.notes.push(format!(
            "the organizations from outside are those of {name}"
        ));
        let is_plain = document.trim_ascii_start().starts_with(b"{");
        if from.signers.is_some() && is_plain {
            let section = self.document.pointer_mut("/organizations_from");
            if let Some(section) = section.and_then(Value::as_object_mut) {
                section.remove("signed_by");
                self.is_changed = true;
            }
            self.notes.push(format!(
                "{name} is not signed: signed_by is passed over here"
            ));
        }
        self.organizations = Some(document);
        Ok(())
    }

    /// Sends the request through a worker, and collects everything there is to report.
    fn explain(
        mut self,
        request: &Request,
        authorities: Option<Vec<u8>>,
        web: &mut dyn Web,
    ) -> io::Result<Explained<'a>> {
        let web = (!self.arguments.offline).then_some(web);
        let mut sources = Sources::new(web, authorities, self.arguments.directory);
        for (position, keys) in &self.keys {
            if let Some(provider) = self.config.providers.get(*position) {
                let issuer = provider.rules.issuers.first().as_str();
                let name = &provider.rules.name;
                sources.hold_keys((name, issuer), &provider.source, keys);
            }
        }
        if let (Some(document), Some(from)) = (&self.organizations, &self.config.organizations_from)
        {
            sources.hold_organizations(&from.remote, document);
        }
        let document = if self.is_changed {
            self.document.to_string()
        } else {
            self.json.to_owned()
        };
        self.check_stand_ins(&document)?;
        let environment = self.environment.iter();
        let environment: Vec<(String, String)> = environment
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let stage = Stage {
            document: document.as_bytes(),
            environment: &environment,
            now: self.now,
            sources: &mut sources,
        };
        let rehearsal = stage.play(request);
        let undecided =
            || io::Error::other("the gate came to no decision: this is a fault of scopegate's");
        let rehearsal = rehearsal.ok_or_else(undecided)?;
        let enforced = self.enforced(&rehearsal, request, &environment, &mut sources);
        for (url, error) in sources.failures() {
            self.notes
                .push(format!("{url} cannot be had from here: {error}"));
        }
        for url in sources.reached() {
            self.notes.push(format!("fetched: {url}"));
        }
        if sources.directory_asked {
            self.notes.push(match self.arguments.directory {
                Some(status) => format!("the directory of projects is taken to answer {status}"),
                None => "the directory of projects would be asked: say by --directory what it \
                         would answer"
                    .to_owned(),
            });
        }
        let log = rehearsal
            .log
            .iter()
            .filter(|(level, _)| *level != Level::Info);
        let log = log.map(|(_, line)| format!("the gate's log: {}", sources.named(line)));
        self.notes.extend(log);
        let presented = Presented::of(request, &self.config.credentials);
        let from = self.config.organizations_from.as_ref();
        let outside = from.and_then(|from| sources.organizations(&from.remote));
        Ok(Explained {
            enforced,
            holders: Holders::of(&self.document, outside),
            timestamp: self.timestamp(),
            loaded: self.config,
            presented,
            rehearsal,
            notes: self.notes,
        })
    }

    /// What would be changed of the request in `mode: enforce`. `None` if that is the mode
    /// already, or if the request would not be forwarded.
    fn enforced(
        &self,
        rehearsal: &Rehearsal,
        request: &Request,
        environment: &[(String, String)],
        sources: &mut Sources<'_>,
    ) -> Option<Vec<Changed>> {
        if self.config.mode != Mode::Report || rehearsal.verdict != Some(Verdict::Allowed) {
            return None;
        }
        let mut document = self.document.clone();
        *document.pointer_mut("/mode")? = Value::from("enforce");
        let document = document.to_string();
        let stage = Stage {
            document: document.as_bytes(),
            environment,
            now: self.now,
            sources,
        };
        match stage.play(request)?.fate {
            Fate::Forwarded {
                request: forwarded, ..
            } => Some(changed(request, &forwarded)),
            Fate::Answered(_) => None,
        }
    }

    /// Checks the configuration with its parts replaced. A stand-in cannot break it, but a file of
    /// keys can.
    fn check_stand_ins(&self, document: &str) -> io::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let environment = self.environment.clone();
        match Config::parse(document.as_bytes(), &Environment::new(environment)) {
            Ok(_) => Ok(()),
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(wrong(problems.join("; ")))
            }
        }
    }
}

/// A request that a worker has decided.
struct Explained<'a> {
    enforced: Option<Vec<Changed>>,
    holders: Holders,
    timestamp: Timestamp,
    loaded: &'a Config,
    presented: Presented,
    rehearsal: Rehearsal,
    notes: Vec<String>,
}

impl Explained<'_> {
    fn report<'r>(&'r self, request: &'r Request) -> Report<'r> {
        let rehearsal = &self.rehearsal;
        let mut gates = rehearsal.worker().gates();
        let tenants = match &rehearsal.fate {
            Fate::Forwarded { request, .. } => {
                let fields = request.fields.iter();
                let mut fields = fields.filter(|(name, _)| name == b"x-scope-orgid");
                fields.next().map(|(_, value)| value.clone())
            }
            Fate::Answered(_) => None,
        };
        let steps = gates.next().map(|(_, gate)| {
            let context = Context {
                gate,
                loaded: self.loaded,
                request,
                presented: &self.presented,
                holders: &self.holders,
                verdict: rehearsal.verdict,
                now: self.timestamp,
                tenants,
                token_bytes: gate.config().limits.token_bytes,
            };
            context.steps()
        });
        let changed = match &rehearsal.fate {
            Fate::Forwarded {
                request: forwarded, ..
            } => changed(request, forwarded),
            Fate::Answered(_) => Vec::new(),
        };
        Report {
            steps: steps.unwrap_or_default(),
            verdict: rehearsal.verdict,
            request,
            fate: &rehearsal.fate,
            changed,
            enforced: self.enforced.as_deref().unwrap_or_default(),
            record: rehearsal.record.as_deref(),
            notes: self.notes.clone(),
            presented: &self.presented,
        }
    }
}
