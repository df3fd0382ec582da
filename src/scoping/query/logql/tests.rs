use crate::scoping::query::tests::run;
use crate::scoping::query::{Language, Shape};

fn query(text: &str) -> String {
    run(Language::LogQl, Shape::Query, text)
}

/// Each text with the expected outcome: attacks known from the field, and variations of them.
const ATTACKS: &[(&str, &str)] = &[
    // Comments.
    (r#"{app="x"} // {a="b"}"#, "!Comment"),
    ("{app=\"x\"} //\n or {a=\"b\"}", "!Comment"),
    ("/*{*/", "!Comment"),
    (r#"{app="x" /* } */}"#, "!Comment"),
    ("# {", "# {"),
    ("# {\n{app=\"x\"}", "# {\n{M,app=\"x\"}"),
    ("{app=\"x\"} # a\r{b=\"c\"}", "!Comment"),
    ("{app=\"x\"} # a\r\n|= `b`", "{M,app=\"x\"} # a\r\n|= `b`"),
    ("{ # c\n }", "{M # c\n }"),
    ("{ # }\n app=\"x\"}", "{M, # }\n app=\"x\"}"),
    // Strings.
    ("'{'", "!Character"),
    (r#"{app="x"} |= '{'"#, "!Character"),
    ("{a=\"b\"} |= `}{`", "{M,a=\"b\"} |= `}{`"),
    (r#"{a="b"} |= "\"{""#, r#"{M,a="b"} |= "\"{""#),
    (r#"{a="\\"} |= "{""#, r#"{M,a="\\"} |= "{""#),
    (r#"{a="b"} |= "{"#, "!String"),
    ("{a=\"b\n\"}", "!String"),
    ("{a=`b", "!String"),
    (
        r#"{a="b"} | line_format "{{.x}} // /* # '""#,
        r#"{M,a="b"} | line_format "{{.x}} // /* # '""#,
    ),
    // Selectors.
    ("{}", "{M}"),
    ("{  }", "{M  }"),
    (r#"{app="x",}"#, "!Matcher"),
    (r#"{ :"a", :"b" }"#, "!Matcher"),
    (r#"{app="x" or namespace="a"}"#, "!Matcher"),
    (r#"{app="x" namespace="a"}"#, "!Matcher"),
    (r#"{app=="x"}"#, "!Matcher"),
    (r#"{app>"x"}"#, "!Matcher"),
    (r#"{app}"#, "!Matcher"),
    (r#"{"app"="x"}"#, "!Matcher"),
    (r#"{,app="x"}"#, "!Matcher"),
    (r#"{1a="x"}"#, "!Matcher"),
    (r#"{app=x}"#, "!Matcher"),
    (
        r#"{a="b", c!~`d` , e=~"f", g!=`h`}"#,
        r#"{M,a="b", c!~`d` , e=~"f", g!=`h`}"#,
    ),
    // Two selectors side by side, or none at all.
    (r#"{a="b"} {c="d"}"#, "!Syntax"),
    (r#"{a="b"}{c="d"}"#, "!Syntax"),
    (r#"rate({a="b"}[5m]) {c="d"}"#, "!Syntax"),
    (r#"{a="b"} |= "x" {c="d"}"#, "!Syntax"),
    (r#"app="x""#, "!Matcher"),
    (r#"app != `x` | json"#, "!Matcher"),
    (r#"rate(app=~"x"[5m])"#, "!Matcher"),
    (r#"{a="b"} or app="x""#, "!Matcher"),
    (
        r#"{a="b"} | c="d" or app="x""#,
        r#"{M,a="b"} | c="d" or app="x""#,
    ),
    (
        r#"sum by (app) (rate({a="b"} | json | c="d" or (e="f" and g!="h"), i=~"j" [5m])) != 1"#,
        r#"sum by (app) (rate({M,a="b"} | json | c="d" or (e="f" and g!="h"), i=~"j" [5m])) != 1"#,
    ),
    (
        r#"label_replace(rate({a="b"}[5m]), "c", "$1", "d", "(.*)") / on (e) group_left () vector(1)"#,
        r#"label_replace(rate({M,a="b"}[5m]), "c", "$1", "d", "(.*)") / on (e) group_left () vector(1)"#,
    ),
    (r#"{rid!="r1"}"#, r#"{M,rid!="r1"}"#),
    (r#"{rid=~"r1|.*"}"#, r#"{M,rid=~"r1|.*"}"#),
    (r#"{a="b"} or {c="d"}"#, r#"{M,a="b"} or {M,c="d"}"#),
    (r#"{a="b" {c="d"}}"#, "!Matcher"),
    (r#"{a="b" | c="d"}"#, "!Matcher"),
    ("{a=\"b\"", "!Unbalanced"),
    ("}", "!Unbalanced"),
    (
        r#"rate(({a="b"} |= "c")[5m])"#,
        r#"rate(({M,a="b"} |= "c")[5m])"#,
    ),
    (
        r#"variants(rate({a="b"}[5m])) of ({a="b"}[5m])"#,
        r#"variants(rate({M,a="b"}[5m])) of ({M,a="b"}[5m])"#,
    ),
    (r#"[{a="b"}5m]"#, "!Range"),
    (r#"rate({a="b"}[5m # {\n])"#, "!Range"),
    (r#"rate({a="b"}[5m)"#, "!Range"),
    // Stages act after the selection.
    (
        r#"{a="b"} | label_format rid=app | rid="r2" | drop rid"#,
        r#"{M,a="b"} | label_format rid=app | rid="r2" | drop rid"#,
    ),
    (
        r#"{a="b"} | json x="y[\"{\"]" | __error__="""#,
        r#"{M,a="b"} | json x="y[\"{\"]" | __error__="""#,
    ),
    // Bytes outside strings.
    ("\u{feff}{a=\"b\"}", "!Character"),
    ("{a=\"b\"} \u{0}", "!Character"),
    ("{é=\"b\"}", "!Character"),
    ("{a=\"b\"} |= \"é\u{feff}\"", "{M,a=\"b\"} |= \"é\u{feff}\""),
    (
        r#"{a="b"} | logfmt | took > 5µs"#,
        r#"{M,a="b"} | logfmt | took > 5µs"#,
    ),
    ("µ", "!Character"),
    // No selector at all.
    ("vector(1)+vector(1)", "vector(1)+vector(1)"),
    ("1 + 1", "1 + 1"),
];

#[test]
fn attacks() {
    for (text, expected) in ATTACKS {
        assert_eq!(query(text), *expected, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    assert_eq!(query(&"(".repeat(65)), "!Depth");
    let text = "(".repeat(64) + "{}" + &")".repeat(64);
    assert!(query(&text).contains("{M}"));
}

#[test]
fn a_selector_is_one_and_alone() {
    for (text, expected) in [
        (r#"{a="b"}"#, r#"{M,a="b"}"#),
        (" {} # c", " {M} # c"),
        (r#"{a="b"} |= "c""#, "!OneSelector"),
        (r#"{a="b"}{c="d"}"#, "!OneSelector"),
        ("rate({}[5m])", "!OneSelector"),
        ("", "!OneSelector"),
        ("1", "!OneSelector"),
    ] {
        assert_eq!(
            run(Language::LogQl, Shape::Selector, text),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_pipeline_gets_its_selector() {
    for (text, expected) in [
        (r#"|= "error""#, r#"{M}|= "error""#),
        ("  | json | level=`x`", "{M}  | json | level=`x`"),
        ("!= `a`", "{M}!= `a`"),
        ("# c\n|~ `a`", "{M}# c\n|~ `a`"),
        ("", "{M}"),
        (" ", "{M} "),
        (r#"{level="error"}"#, r#"{M,level="error"}"#),
        ("rate({} [5m])", "rate({M} [5m])"),
        (r#"|= "x" or {a="b"}"#, r#"{M}|= "x" or {M,a="b"}"#),
    ] {
        assert_eq!(
            run(Language::LogQl, Shape::Pipeline, text),
            expected,
            "{text}"
        );
    }
    assert_eq!(query(r#"|= "error""#), r#"|= "error""#);
}
