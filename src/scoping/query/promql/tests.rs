use crate::scoping::query::tests::run;
use crate::scoping::query::{Language, Shape};

fn query(text: &str) -> String {
    run(Language::PromQl, Shape::Query, text)
}

fn selector(text: &str) -> String {
    run(Language::PromQl, Shape::Selector, text)
}

/// Each text with the expected outcome: attacks known from the field, and variations of them.
const ATTACKS: &[(&str, &str)] = &[
    // Selectors in every argument, including those of aggregations.
    ("topk(scalar(s),x)", "topk(scalar(s{M}),x{M})"),
    ("quantile(scalar(s),x)", "quantile(scalar(s{M}),x{M})"),
    ("limitk(scalar(a), b)", "limitk(scalar(a{M}), b{M})"),
    ("clamp(x, scalar(s), 2)", "clamp(x{M}, scalar(s{M}), 2)"),
    (
        r#"count_values without (a) ("x", y)"#,
        r#"count_values without (a) ("x", y{M})"#,
    ),
    // Of the reserved names, the one for a federated query's tenants may be a matcher.
    (r#"up{__tenant_id__="a"}"#, r#"up{M,__tenant_id__="a"}"#),
    (
        r#"sum by (__tenant_id__) (up)"#,
        r#"sum by (__tenant_id__) (up{M})"#,
    ),
    (r#"up{__tenant_id="a"}"#, "!ReservedName"),
    (r#"up{__query__="a"}"#, "!ReservedName"),
    // Functions that select data by themselves, or may do so.
    ("info(x)", "!Function"),
    (r#"info(x,{__name__="y_info"})"#, "!Function"),
    ("brand_new(x)", "!Function"),
    ("Rate(x[5m])", "!Function"),
    ("by(x)", "!Function"),
    ("fill(x)", "!Function"),
    // Keywords that name metrics.
    ("or or or", "or{M} or or{M}"),
    ("by", "by{M}"),
    ("sum", "sum{M}"),
    (r#"sum{a="b"}"#, r#"sum{M,a="b"}"#),
    ("sum + by", "sum{M} + by{M}"),
    ("start{}", "start{M,}"),
    (r#"fill{a="b"}"#, r#"fill{M,a="b"}"#),
    (r#"offset{a="b"} offset 5m"#, r#"offset{M,a="b"} offset 5m"#),
    ("bool", "!Syntax"),
    ("on{}", "!Syntax"),
    ("Sum By (a) (x)", "Sum By (a) (x{M})"),
    ("SUM(x) WITHOUT (a)", "SUM(x{M}) WITHOUT (a)"),
    ("sum(x) by", "!Syntax"),
    // Lists of labels are not selectors, but what follows them is.
    (
        "a + on(x) group_left (y) b",
        "a{M} + on(x) group_left (y) b{M}",
    ),
    ("a + on(x) group_left b", "a{M} + on(x) group_left b{M}"),
    ("a + on(x) group_left (y)", "!Syntax"),
    (r#"sum by (a,"b c",) (x)"#, r#"sum by (a,"b c",) (x{M})"#),
    ("a + fill(0) b", "a{M} + fill(0) b{M}"),
    ("a + fill(b) c", "!Range"),
    ("a + fill (-1) b", "a{M} + fill (-1) b{M}"),
    ("a + fill", "a{M} + fill{M}"),
    ("a > bool b", "a{M} > bool b{M}"),
    // Comments.
    (r#"x # {a="b"}"#, r#"x{M} # {a="b"}"#),
    ("x #c\ry", "!Comment"),
    ("x #c\r+ y", "!Comment"),
    ("x #c\r\n+ y", "x{M} #c\r\n+ y{M}"),
    ("x # c\n {a=\"b\"}", "x # c\n {M,a=\"b\"}"),
    ("x{ # }\n a=\"b\"}", "x{M, # }\n a=\"b\"}"),
    ("x[5m # ]\n]", "!Comment"),
    ("# {\n", "!Syntax"),
    // Strings.
    (r#"{"foo","a.b"="c"}"#, r#"{M,"foo","a.b"="c"}"#),
    ("{a=`}`}", "{M,a=`}`}"),
    (r#"{a="\"}", b='}'}"#, r#"{M,a="\"}", b='}'}"#),
    (r#"{a="\\"} or b"#, r#"{M,a="\\"} or b{M}"#),
    ("{a=\"\n\"}", "!String"),
    ("{a=\"\\\n\"}", "!String"),
    (r#"{a="}"#, "!String"),
    ("{a=`}", "!String"),
    ("\"x\" + `y{}` + 'z'", "\"x\" + `y{}` + 'z'"),
    // The caller's own matchers on the scope's label stay, and the gate's is added.
    (r#"x{rid=~".*"}"#, r#"x{M,rid=~".*"}"#),
    (r#"x{rid!="r1"}"#, r#"x{M,rid!="r1"}"#),
    (r#"x{"rid"="r2",}"#, r#"x{M,"rid"="r2",}"#),
    (r#"{a="1" or b="2"}"#, "!Matcher"),
    (r#"{a="1" b="2"}"#, "!Matcher"),
    (r#"{{a="1"}}"#, "!Matcher"),
    ("{a}", "!Matcher"),
    ("{a=b}", "!Matcher"),
    // Names that backends reserve for themselves.
    (r#"__internal__{__query__="s"}"#, "!ReservedName"),
    ("__internal__", "!ReservedName"),
    (r#"{__query__="s"}"#, "!ReservedName"),
    (r#"{"__query__"="s"}"#, "!ReservedName"),
    (r#"{"__internal__"}"#, "!ReservedName"),
    (r#"{__name__="__internal__"}"#, "!ReservedName"),
    (r#"{__name__=~"__internal__"}"#, "!ReservedName"),
    (r#"{__name__!="__internal__"}"#, "!ReservedName"),
    (r#"{"__name__"="__internal__"}"#, "!ReservedName"),
    ("{__name__=`__internal__`}", "!ReservedName"),
    (r#"{__name__="\x5f\x5finternal__"}"#, "!Backslash"),
    (r#"{__name__="_\u005finternal__"}"#, "!Backslash"),
    (r#"{__name__="_\137x"}"#, "!Backslash"),
    (r#"{"_\x5fname__"="__internal__"}"#, "!Backslash"),
    (r#"{"\x5f\x5finternal__"}"#, "!Backslash"),
    (r#"{__name__=~".+\\.x"}"#, r#"{M,__name__=~".+\\.x"}"#),
    (r#"{__name__=~"\\w+"}"#, r#"{M,__name__=~"\\w+"}"#),
    ("{__name__=~`\\w+`}", "{M,__name__=~`\\w+`}"),
    (r#"{__type__="counter"}"#, r#"{M,__type__="counter"}"#),
    // Ranges, offsets and instants hold no selectors.
    ("x offset -step()", "x{M} offset -step()"),
    ("x offset (1h + step())", "x{M} offset (1h + step())"),
    ("x offset y", "!Range"),
    ("x offset (1h + y)", "!Range"),
    ("x @ end()", "x{M} @ end()"),
    ("x @ -1.5e+3 offset 5m", "x{M} @ -1.5e+3 offset 5m"),
    ("x @ y", "!Range"),
    ("x @ end(y)", "!Syntax"),
    ("rate(x[5m:1m] offset 1h)", "rate(x{M}[5m:1m] offset 1h)"),
    ("x[max_of(step(), 5m)]", "x{M}[max_of(step(), 5m)]"),
    ("x[5m] offset max(1m, 2m)", "x{M}[5m] offset max(1m, 2m)"),
    ("x offset max{a=\"b\"}", "!Range"),
    ("x offset max", "!Range"),
    ("x[y]", "!Range"),
    ("x[scalar(y)]", "!Range"),
    ("x[{a=\"b\"}]", "!Range"),
    ("x[5m", "!Unbalanced"),
    ("x[5m] smoothed", "x{M}[5m] smoothed"),
    // A number does not swallow an operand.
    ("1e+x", "1e+x{M}"),
    ("0x1e+5 + x", "0x1e+5 + x{M}"),
    ("1_000 * .5e-3 * x", "1_000 * .5e-3 * x{M}"),
    ("1x", "1x"),
    ("NaN + inf + x", "NaN + inf + x{M}"),
    ("nan{a=\"b\"}", "!Syntax"),
    // Operators.
    ("-(-(x))", "-(-(x{M}))"),
    ("- - x ^ -y", "- - x{M} ^ -y{M}"),
    ("x </ y >/ z", "x{M} </ y{M} >/ z{M}"),
    ("x =~ y", "!Syntax"),
    ("x == bool y != z", "x{M} == bool y{M} != z{M}"),
    ("x;y", "!Syntax"),
    ("x y", "!Syntax"),
    ("x{", "!Unbalanced"),
    ("x}", "!Unbalanced"),
    ("(x", "!Unbalanced"),
    ("x)", "!Unbalanced"),
    ("", "!Syntax"),
    ("  ", "!Syntax"),
    ("\u{feff}x", "!Character"),
    ("x\u{a0}+ y", "!Syntax"),
    ("é", "!Character"),
    // No selector at all.
    ("1+1", "1+1"),
    ("vector(1) + time()", "vector(1) + time()"),
];

#[test]
fn attacks() {
    for (text, expected) in ATTACKS {
        assert_eq!(query(text), *expected, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| "(".repeat(depth) + "x" + &")".repeat(depth);
    assert!(query(&nested(63)).contains("x{M}"));
    assert_eq!(query(&nested(65)), "!Depth");
    assert_eq!(query(&"abs(".repeat(16_000)), "!Depth");
}

#[test]
fn a_selector_is_one_and_alone() {
    for (text, expected) in [
        ("up", "up{M}"),
        ("{a=\"b\"}", "{M,a=\"b\"}"),
        (" up {} # c", " up {M,} # c"),
        ("up or down", "!OneSelector"),
        ("up[5m]", "!OneSelector"),
        ("rate(up)", "!OneSelector"),
        ("1", "!OneSelector"),
        ("", "!OneSelector"),
        ("(up)", "!OneSelector"),
        ("nan", "!OneSelector"),
        ("__x", "!ReservedName"),
        ("up{a=\"b\"} {c=\"d\"}", "!OneSelector"),
    ] {
        assert_eq!(selector(text), expected, "{text}");
    }
    assert_eq!(
        run(Language::PromQl, Shape::Pipeline, "|= \"x\""),
        "!Syntax"
    );
}
