//! The words with which queries are changed.

use scopegate::scoping::query::Language;

/// The words of a language, and things that stand between them.
pub fn of(language: Language) -> Vec<&'static str> {
    let words = match language {
        Language::LogQl => LOGQL,
        Language::PromQl => PROMQL,
        Language::TraceQl => TRACEQL,
    };
    words.split_whitespace().collect()
}

/// What stands between two queries and makes them one.
pub fn operators(language: Language) -> Vec<&'static str> {
    let operators = match language {
        Language::LogQl | Language::PromQl => "+ - * / % ^ == != > >= < and or unless",
        Language::TraceQl => "&& || >> << > < ~ !>> &>> + /",
    };
    operators.split_whitespace().collect()
}

/// What readers disagree about.
pub fn nasty() -> Vec<&'static str> {
    let seen = NASTY.split_whitespace();
    seen.chain(UNSEEN.iter().copied()).collect()
}

/// Put around something.
pub const PAIRS: &[(&str, &str)] = &[
    ("(", ")"),
    ("{", "}"),
    ("[", "]"),
    ("\"", "\""),
    ("`", "`"),
    ("'", "'"),
    ("/*", "*/"),
    ("#", "\n"),
    ("//", "\n"),
    ("#", "\r"),
    ("-(", ")"),
    ("((", "))"),
];

/// Spaces and what has some in it, ends of lines, letters that look like others or like nothing.
const UNSEEN: &[&str] = &[
    " ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{c}",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{200b}",
    "\u{212a}",
    "\u{17f}",
    "\\\n",
    "#\n",
    "//\n",
    "} or {",
    "\"} {a=\"",
];

const NASTY: &str = r#"
    " ' ` \ \" \\ \' \x22 \u007d \n # // /* */ / { } {} ( ) [ ] , ; : | ! ~ = @ $ % & ? < > ^ - + * . _
    é µ ß 中 🦀 ｛ ＂ ’ {a="b"} {"a"} x __name__ __internal__ {__name__=~".+"} 0x1 1e 1e+ 1_000 Inf NaN 5m .5
    {a="b"or} !~ =~ != #} #{ //{ /*{*/ '{' `{` "{" \{ "" '' `` ''' "\" '"' "'" `"` "`" '`'
"#;

const PROMQL: &str = r#"
    sum by without on ignoring group_left group_right bool offset @ start() end() start end step() range() step range
    max_of min_of max_of(1m,2m) min max max(1m,2m) topk bottomk limitk limit_ratio quantile count_values avg count
    group stddev stdvar rate ( ) [5m] [5m:] [5m:1m] [ ] and or unless atan2 + - * / % ^ == != > < >= <= </ >/ fill
    fill(0) fill_left(1) fill_right anchored smoothed scalar(s) vector(1) time() info info( absent label_replace
    histogram_quantile histogram_quantiles clamp double_exponential_smoothing start_timestamp pi() up {a="b"} a:b :a
    inf nan 0x1f 1e3 5 1h30m "x" 'y' `z` , : Sum BY OFFSET Bool "a.b" {"a.b"} {'a'} {`a`} le job target_info -1d
    [step()] [5m+1m] [(5m)] -(1m) NaN +Inf on() ignoring(a) group_left() by() without(a) histogram_avg present_over_time
"#;

const LOGQL: &str = r#"
    {app="x"} {app=~"x.*"} {} { } |= != |~ !~ |> !> | json logfmt regexp pattern unpack line_format label_format drop
    keep decolorize unwrap rate count_over_time bytes_rate sum_over_time sum avg topk bottomk approx_topk sort by
    without on ignoring group_left group_right bool and or unless offset [5m] [ ] ( ) vector(1) label_replace ip
    ip("10.0.0.0/8") duration duration_seconds bytes variants of variants( )of( --strict --keep-empty + - * / % ^ ==
    > >= < <= = =~ , 5m 10KB 1.5 "x" `y` quantile_over_time absent_over_time first_over_time __error__
    __stream_shard__ duration(a) @ |json |logfmt |a="b" |="a"or"b" 5µs inf 0x1 on() by(a) without()
"#;

const TRACEQL: &str = r#"
    { } {} {.a=1} {true} ( ) && || >> << > < ~ !>> !<< !> !< !~ &>> &<< &> &< &~ = != =~ >= <= | ! - + * / % ^ , . .a
    .a.b span. resource. parent. event. link. instrumentation. trace: span: event: link: instrumentation: span.a
    resource.service.name parent.a parent.resource.a ."a}{" resource."a\"b" span."(" ."&&" name kind status duration
    statusMessage rootName rootServiceName traceDuration childCount nestedSetLeft nestedSetParent span:id trace:id
    trace:duration error ok unset server client nil true false 5ms 1h 1.5 "x" `y` count() avg( max(duration) sum( min(
    by( by(.a) select( select(.a) coalesce() rate() count_over_time() quantile_over_time(duration,.9)
    histogram_over_time( min_over_time( compare({.a=1}) topk(5) bottomk(5) with( with(most_recent=true)
    with(sample=0.1) with(exemplars=true) with(x="{") a b.c ")" "||" ||true )||( )&&(
"#;
