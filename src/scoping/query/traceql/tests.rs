use crate::scoping::query::{Failure, Language, MAX_TRACEQL, Matcher, Scoped, Shape, scope};
use crate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};
use crate::words::refusal::{Refusal, Rule};

fn matcher() -> Matcher {
    let label = LabelName::parse("rid").unwrap();
    let scope = Scope::single(label, LabelValue::parse("r").unwrap());
    Matcher::new(Language::TraceQl, &scope, &Attributes::default())
}

fn attempt(shape: Shape, text: &str) -> Result<Scoped, Refusal> {
    match scope(Language::TraceQl, shape, text, &matcher()) {
        Ok(scoped) => Ok(scoped),
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(Failure::Unsound) => panic!("read differently a second time: {text}"),
    }
}

/// `~M~` stands for the matcher, and `~(~` and `~)~` for the parenthesis around the rest.
#[track_caller]
fn accepts(marked: &str) {
    let text = marked
        .replace("~M~", "")
        .replace("~(~", "")
        .replace("~)~", "");
    let expected = marked
        .replace("~M~", r#" resource.rid = "r" "#)
        .replace("~(~", r#" resource.rid = "r" && ("#)
        .replace("~)~", ")");
    match attempt(Shape::Query, &text) {
        Ok(scoped) => assert_eq!(scoped.text, expected),
        Err(refusal) => panic!("{text}: {refusal}"),
    }
}

#[track_caller]
fn refuses(text: &str, rule: Rule, at: usize) {
    let refusal = attempt(Shape::Query, text).map(|scoped| scoped.text);
    assert_eq!(refusal, Err(Refusal { at, rule }), "{text}");
}

#[test]
fn a_pipeline_without_a_filter_reads_all_spans() {
    for (text, at) in [
        ("", 0),
        (" ", 1),
        ("select(.a)", 0),
        ("by(.a)", 0),
        ("count() > 1", 0),
        ("(count()) > 1", 1),
        ("((( avg(duration) ))) > 1s", 4),
        ("rate()", 0),
        ("3 = 3", 0),
        ("-1 < count()", 0),
        ("(3) = 3", 1),
        (".5 = .5", 0),
        ("\"a\" = \"a\"", 0),
        ("`a` = `a`", 0),
        ("(select(.a)) && ({ })", 1),
        ("({ }) && (select(.a))", 10),
        ("({ }) && select(.a)", 9),
        ("({ }) || (3 = 3)", 10),
        ("({ }) && 3 = 3", 9),
        ("({ } | rate()) / rate()", 17),
        ("({ } | count()) > (count())", 19),
        ("{ } && count() > 1", 7),
        ("{ } | { } && (count() > 1)", 14),
        ("({ } | rate()) / (rate())", 18),
        ("max(duration) > 3s | { }", 0),
    ] {
        refuses(text, Rule::NoFilter, at);
    }
}

#[test]
fn and_and_or_have_the_same_precedence() {
    accepts("{~(~ .c = 3 || .d = 4 ~)~}");
    accepts("{~(~ .a ~)~} || {~(~ .b ~)~}");
    accepts("{~(~(.a || .b) && !(.c || -.d < 1)~)~}");
}

#[test]
fn what_is_inserted_cannot_be_closed() {
    refuses("{ parent.a = 1 }", Rule::Parent, 2);
    refuses("{ .a = 1 && parent.span.b = 2 }", Rule::Parent, 12);
    refuses("{ } | select(parent.resource.a)", Rule::Parent, 13);
    refuses("{ } | rate() by(parent.resource.a)", Rule::Parent, 16);
    refuses("{ .a) || (.b }", Rule::Unbalanced, 4);
    refuses("{ ) || ( }", Rule::Unbalanced, 2);
    refuses("{ (.a }", Rule::Unbalanced, 6);
    refuses("{ .a }}", Rule::Unbalanced, 6);
    refuses("{ .a", Rule::Unbalanced, 4);
    refuses("{", Rule::Unbalanced, 1);
    refuses("({ }", Rule::Unbalanced, 4);
    refuses("{ })", Rule::Unbalanced, 3);
    refuses("{ ) }", Rule::Unbalanced, 2);
    refuses("{ { } }", Rule::Unbalanced, 2);
    refuses("{ .a && { .b } }", Rule::Unbalanced, 8);
    refuses("{ .a } { .b }", Rule::Unbalanced, 7);
    refuses("{ .a , .b }", Rule::Syntax, 5);
    refuses("{ .a | .b }", Rule::Syntax, 5);
    refuses("{ .a >> .b }", Rule::Syntax, 7);
}

#[test]
fn names_of_attributes_swallow_quotes_and_comments_in_tempo() {
    refuses("{ .a` = 1 } || { .b` = 1 }", Rule::Character, 4);
    refuses("{ .a' = 1 } || { .b' = 1 }", Rule::Character, 4);
    refuses("{ .a//b = 1 }", Rule::Comment, 4);
    refuses("{ .a/*b = 1 } || { .b*/ = 1 }", Rule::Comment, 4);
    refuses("{ .a# = 1 }", Rule::Comment, 4);
    refuses("{ .a[0] = 1 }", Rule::Character, 4);
    refuses("{ .a+1 = 1 }", Rule::Character, 4);
    refuses("{ .a*2 = 1 }", Rule::Character, 4);
    refuses("{ .a\\ = 1 }", Rule::Backslash, 4);
    refuses("{ .ä = 1 }", Rule::Character, 3);
    refuses("{ .a\u{a0}= 1 }", Rule::Character, 4);
    refuses("{ . a = 1 }", Rule::Syntax, 3);
    refuses("{ span. a = 1 }", Rule::Syntax, 7);
    refuses("{ .`a` = 1 }", Rule::Character, 3);
    refuses("{ foo.`a` = 1 }", Rule::Syntax, 2);
    refuses("{ foo:bar = 1 }", Rule::Syntax, 2);
    refuses("{ span:name.`a = 1 }", Rule::Syntax, 11);
    refuses("{ span:\"a\" = 1 }", Rule::Syntax, 7);
    refuses("{ 1.a` = 1 }", Rule::Syntax, 2);
    refuses("{ 1 .a` = 1 }", Rule::Syntax, 4);
}

#[test]
fn names_of_attributes_may_have_quoted_parts() {
    accepts(r#"{~(~ ."a}{" = 1 ~)~}"#);
    accepts(r#"{~(~ span."a b".c = "}" ~)~}"#);
    accepts(r#"{~(~ span.a."\"\\" = 1 ~)~} && {~M~}"#);
}

#[test]
fn comments_are_refused() {
    refuses("{ } // x", Rule::Comment, 4);
    refuses("{ } /* x */", Rule::Comment, 4);
    refuses("{ } # x", Rule::Comment, 4);
    refuses("// x\n{ }", Rule::Comment, 0);
    refuses("{ // }\n .a }", Rule::Comment, 2);
    refuses("{ 1 //\n 2 }", Rule::Comment, 4);
    refuses("{ 1 / /* */ 2 }", Rule::Comment, 6);
    refuses("{ } | rate(/* ) */)", Rule::Comment, 11);
    refuses("({ } | rate()) //* ({ } | rate())", Rule::Comment, 15);
}

#[test]
fn characters_without_a_meaning_are_refused() {
    for (text, at) in [
        ("\u{feff}{ }", 0),
        ("{ \0 }", 2),
        ("{ .a = \"\u{1}\" }", 8),
        ("{ .a\u{b}= 1 }", 4),
        ("{ .a = '}' }", 7),
        ("{ .a = ü }", 7),
        ("{ } | ü()", 6),
        ("{ } ; { }", 4),
    ] {
        refuses(text, Rule::Character, at);
    }
}

#[test]
fn durations_may_be_in_microseconds() {
    accepts("{~(~ duration > 1µs && duration < 1.5ms ~)~}");
    refuses("{ duration > 1µ }", Rule::Syntax, 13);
    refuses("{ duration > 1µm }", Rule::Syntax, 13);
}

#[test]
fn strings_end_as_in_go() {
    accepts(r#"{~(~ name = "}\"{" ~)~}"#);
    accepts(r#"{~(~ name = "\\" ~)~} || {~(~ name =~ `"\}{` ~)~}"#);
    accepts("{~(~ name = `a\n}` ~)~}");
    accepts(r#"{~(~name="ä // /* # '"~)~}"#);
    refuses(r#"{ name = "a }"#, Rule::String, 9);
    refuses("{ name = `a }", Rule::String, 9);
    refuses("{ name = \"a\n\" }", Rule::String, 9);
    refuses("{ name = \"a\\\n\" }", Rule::String, 9);
    refuses(r#"{ ."a }"#, Rule::String, 3);
    refuses(r#"{ ."a\n" = 1 }"#, Rule::Backslash, 3);
    refuses(r#"{ name = "a"b }"#, Rule::Syntax, 12);
}

#[test]
fn filters_and_their_operands() {
    accepts("{~M~}");
    accepts("{~M~ }");
    accepts("{~M~\n\t}");
    accepts("{~(~.a=1~)~}");
    accepts("\n{~(~\n .a = 1\r\n~)~}\n");
    accepts("{~(~true~)~}");
    accepts("{~(~ status = error && kind=server && name !~ \"a|b\" ~)~}");
    accepts("{~(~nestedSetParent<0 && true~)~}");
    accepts("{~(~ .http.status_code>=500||span.x!=nil ~)~}");
    accepts("{~(~ resource.service.name=~\"a.*\" ~)~}");
    accepts("{~(~ event.a-b = 1 && link.a/b = 2 && instrumentation.a:b@c = 3 ~)~}");
    accepts("{~(~ event:name = \"x\" && span:duration>-1.5ms && trace:id = \"ab\" ~)~}");
    accepts("{~(~ instrumentation:version = \"1\" && link:traceID = \"1\" ~)~}");
    accepts("{~(~ .a ^ 2 % 3 * 4 / 5 - 6 + -.b = --1 ~)~}");
    accepts("{~(~ duration > 1h30m && .a < 1e-5 && .b > .5 && .c = minInt ~)~}");
    accepts("{~(~ span.1a = 0 ~)~}");
    accepts("{~(~ cidr(span.address, \"10.0.0.0/8\", `::/0`) || .a ~)~}");
    for (text, at) in [
        ("{ .a = }", 7),
        ("{ = 1 }", 2),
        ("{ .a .b }", 5),
        ("{ .a == 1 }", 6),
        ("{ .a & .b }", 5),
        ("{ .a ! .b }", 5),
        ("{ 1x }", 2),
        ("{ 0x10 }", 2),
        ("{ 1_000 }", 2),
        ("{ 1. }", 2),
        ("{ 1e }", 2),
        ("{ 1h30 }", 2),
        ("{ 1.5.5 }", 2),
        ("{ cidr(span.a, .b) }", 15),
    ] {
        let refusal = attempt(Shape::Query, text).unwrap_err();
        let known = matches!(refusal.rule, Rule::Syntax | Rule::Unbalanced);
        assert!(known && refusal.at == at, "{text}: {refusal}");
    }
    refuses("{ foo(.a) }", Rule::Function, 2);
    refuses("{ cidr(cidr(.a)) }", Rule::Syntax, 7);
}

#[test]
fn spansets_with_every_operator() {
    for operator in [
        "&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<",
        "&<<", "&~",
    ] {
        accepts(&format!("{{~(~.a~)~}} {operator} {{~M~}}"));
        accepts(&format!("{{~(~.a~)~}}{operator}{{~M~}}"));
        accepts(&format!(
            "({{~M~}} {operator} ({{~M~}})) {operator} {{~(~.b~)~}}"
        ));
        accepts(&format!(
            "({{~M~}} | count() > 1 | {{~(~.a~)~}}) {operator} ({{~M~}} | count() > 2)"
        ));
    }
    refuses("{ } =~ { }", Rule::Syntax, 6);
    refuses("{ } & { }", Rule::Syntax, 4);
    refuses("{ } ! { }", Rule::Syntax, 4);
    refuses("{ } >", Rule::NoFilter, 5);
}

#[test]
fn stages_of_pipelines() {
    for stage in [
        "count() > 1",
        "avg(duration) > 1s",
        "avg(span.foo) + 1 > 2",
        "(max(.a) - min(.a)) * 2 >= -(3)",
        "sum( (1 + .a) * 2 )<=.5",
        "1 < count()",
        "count() != maxInt",
        "select(.a, span.b,event:name)",
        "by(resource.service.name)",
        "by(1 + .a) | coalesce() | count() > 2",
        "rate()",
        "rate() > 5",
        "rate() by (resource.x, .y)",
        "rate()by(name)>-5 | topk(3)",
        "count_over_time() by (name) | bottomk(10)",
        "quantile_over_time(duration, .9, 0.99, 1) by (span.a)",
        "histogram_over_time(duration)",
        "min_over_time(duration) by (.a)",
        "max_over_time(span.a)",
        "sum_over_time(span.a)",
        "avg_over_time(span.a)",
        "{~(~.b~)~}",
        "{~M~} && ({~(~.c~)~} >> {~M~})",
        "( ({~(~.b~)~}) )",
        "compare({~(~ .x = 1 ~)~})",
        "compare( {~M~}, 10 )",
        "compare({~(~status=error~)~}, 10, 1700000000000000000, 1700000000000000001)",
    ] {
        accepts(&format!("{{~(~.a~)~}} | {stage}"));
        accepts(&format!("{{~M~}}|{stage}"));
        accepts(&format!("({{~M~}} | {stage})"));
    }
    refuses("{ } | info()", Rule::Function, 6);
    refuses("{ } | foo", Rule::Function, 6);
    refuses("{ } | avg(.a) + rate() > 1", Rule::Function, 16);
    refuses("{ } | count", Rule::Syntax, 11);
    refuses("{ } |", Rule::Syntax, 5);
    refuses("{ } | | { }", Rule::Syntax, 6);
    refuses("{ } | (count() | { }) > 1", Rule::Syntax, 15);
    refuses("{ } | (count() > 1", Rule::Unbalanced, 18);
    refuses("{ } | select({ })", Rule::Unbalanced, 13);
    refuses("{ } | compare(.a)", Rule::Syntax, 14);
    refuses("{ } | compare({ }, { })", Rule::Unbalanced, 19);
    refuses("{ } | compare({ } && { })", Rule::Syntax, 18);
    refuses("{ } | count() > 1 && { }", Rule::Syntax, 20);
    refuses("{ } select(.a)", Rule::Syntax, 4);
    refuses("{ } by (.a)", Rule::Syntax, 4);
}

#[test]
fn arithmetic_of_metrics() {
    accepts("({~M~} | rate()) / ({~M~} | count_over_time())");
    accepts("(({~(~.a~)~} | rate()) + ({~M~} | rate() | topk(3))) * ({~M~} | rate()) > 5");
    accepts("({~M~} | rate() by (.a)) - ({~M~} | rate()) | topk(3) > 1.5");
    accepts("({~M~} | count()) > 2");
    accepts("({~M~} | count()) % ({~M~} | count()) ^ ({~M~} | avg(.a)) = -1s");
}

#[test]
fn hints_are_known_ones() {
    accepts("{~M~} with(most_recent=true)");
    accepts("{~M~} | rate() with(span_sample=0.1, trace_sample=true)");
    accepts("{~M~} | rate() by (.a) with (sample = 0.1, exemplars=100)with(sample=false)");
    refuses("{ } with(x=\"{\")", Rule::Hint, 9);
    refuses("{ } with(most_recent=\"{\")", Rule::Hint, 21);
    refuses("{ } with(most_recent={})", Rule::Hint, 21);
    refuses("{ } with(skip_ast_transformations=true)", Rule::Hint, 9);
    refuses("{ } with(most_recent)", Rule::Hint, 20);
    refuses("{ } with()", Rule::Hint, 9);
    refuses("{ } with(sample=1", Rule::Unbalanced, 17);
    refuses("{ } with(sample=1) | { }", Rule::Syntax, 19);
    refuses("({ } with(sample=1))", Rule::Syntax, 5);
    refuses("with(sample=1) { }", Rule::NoFilter, 0);
}

#[test]
fn one_filter_alone() {
    for text in ["{}", " { .a = 1 } ", "{ .a || .b }"] {
        assert_eq!(attempt(Shape::Selector, text).unwrap().selectors, 1);
    }
    for (text, at) in [
        ("", 0),
        ("{ } && { }", 4),
        ("({ })", 0),
        ("{ } | rate()", 4),
        ("{ } with(sample=1)", 4),
        ("select(.a)", 0),
    ] {
        let rule = Rule::OneSelector;
        let refusal = attempt(Shape::Selector, text).unwrap_err();
        assert_eq!(refusal, Refusal { at, rule }, "{text}");
    }
    let pipeline = attempt(Shape::Pipeline, "| rate()").unwrap_err();
    assert_eq!(pipeline.rule, Rule::Syntax);
}

#[test]
fn nesting_is_bounded() {
    let nest = |levels: usize| format!("{}{{}}{}", "(".repeat(levels), ")".repeat(levels));
    assert!(attempt(Shape::Query, &nest(64)).is_ok());
    refuses(&nest(65), Rule::Depth, 64);
    let nest = |levels: usize| {
        let close = ")".repeat(levels);
        format!("{{ }} | {}1{close} = count()", "(".repeat(levels))
    };
    assert!(attempt(Shape::Query, &nest(64)).is_ok());
    refuses(&nest(65), Rule::Depth, 70);
    // Inside a filter, the length of what is sent is the only limit.
    for levels in 0..600 {
        let text = format!("{{{}.a{}}}", "(".repeat(levels), ")".repeat(levels));
        match attempt(Shape::Query, &text) {
            Ok(scoped) => assert!(scoped.text.len() <= MAX_TRACEQL),
            Err(refusal) => assert!(matches!(refusal.rule, Rule::Depth | Rule::Length)),
        }
    }
    // Text that is nested far too deeply is still refused, and a long text is read in one go.
    let deep = "{ } | (".repeat(9_000);
    assert!(attempt(Shape::Query, &deep).is_err());
    let long = "{}&&".repeat(16_000);
    assert_eq!(
        attempt(Shape::Query, &long).unwrap_err().rule,
        Rule::NoFilter
    );
}

#[test]
fn what_is_sent_has_at_most_1024_bytes() {
    let text = |length: usize| format!("{{.{}}}", "a".repeat(length));
    let longest = (0..1024).take_while(|n| attempt(Shape::Query, &text(*n + 1)).is_ok());
    let longest = attempt(Shape::Query, &text(longest.count())).unwrap();
    assert_eq!(longest.text.len(), 1024);
    let refusal = attempt(Shape::Query, &text(1022)).unwrap_err();
    assert_eq!(refusal.rule, Rule::Length);
}

/// Counts braces outside quotes. This reading shares nothing with the one above, and agrees
/// with it as long as names have no quotes of their own.
fn filters(text: &str) -> usize {
    let mut quote = None;
    let mut filters = 0;
    let mut escaped = false;
    for byte in text.bytes() {
        match quote {
            Some(b'"') if escaped => escaped = false,
            Some(b'"') if byte == b'\\' => escaped = true,
            Some(open) if open == byte => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'`') => quote = Some(byte),
            None => filters += usize::from(byte == b'{'),
        }
    }
    filters
}

#[test]
fn mutations_are_scoped_or_refused() {
    let seeds = [
        r#"{ resource.service.name = "a" && .b` } || { span."x y" =~ `c` }"#,
        r#"({ .a = 1 } | rate() by (.b)) / ({ } | count_over_time()) > 5 with(sample=true)"#,
        r#"{ } | compare({ name = "\"}" }, 10) | { -(.a + 1h) !~ "x" } !>> ({ event:name })"#,
        r#"({ .a || !.b } | (avg(duration) + 1) > 2s | select(.c, span.d)) &~ ({ true })"#,
    ];
    let tokens: Vec<&str> = "{ } ( ) | || && ` \" ' \\ // /* # . .a span. = =~ ! - > >> , 1 \
        1s true select( by( count() rate() with( compare({ name : ä"
        .split_ascii_whitespace()
        .chain([" ", "\n"])
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let matcher = matcher();
    let mut accepted = 0;
    for _ in 0..100_000 {
        let mut text: Vec<char> = seeds[random(seeds.len())].chars().collect();
        for _ in 0..=random(3) {
            let at = random(text.len() + 1);
            match random(4) {
                0 => text.truncate(at),
                1 => drop(text.drain(at..(at + random(6)).min(text.len()))),
                _ => drop(text.splice(at..at, tokens[random(tokens.len())].chars())),
            }
        }
        let text: String = text.into_iter().collect();
        let Ok(scoped) = attempt(Shape::Query, &text) else {
            continue;
        };
        accepted += 1;
        let mut left = String::new();
        let mut done = 0;
        for insertion in &scoped.insertions {
            left += &scoped.text[done..insertion.start];
            done = insertion.end;
        }
        left += &scoped.text[done..];
        assert_eq!(left, text);
        assert_eq!(filters(&text), scoped.selectors, "{text}");
        assert_eq!(
            scoped.text.matches(matcher.as_str()).count(),
            scoped.selectors
        );
    }
    assert!(accepted > 1_000, "{accepted}");
}
