use super::*;
use crate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

fn matcher(language: Language) -> Matcher {
    let scope = Scope::single(
        LabelName::parse("rid").unwrap(),
        LabelValue::parse("r1").unwrap(),
    );
    Matcher::new(language, &scope, &Attributes::default())
}

/// What remains without the insertions.
fn original(scoped: &Scoped) -> String {
    let mut text = scoped.text.clone();
    for insertion in scoped.insertions.iter().rev() {
        text.replace_range(insertion.clone(), "");
    }
    text
}

/// The scoped text with `M` for the matcher, or `!` and the rule.
pub(super) fn run(language: Language, shape: Shape, text: &str) -> String {
    match scope(language, shape, text, &matcher(language)) {
        Ok(scoped) => {
            assert_eq!(original(&scoped), text);
            scoped.text.replace(matcher(language).as_str(), "M")
        }
        Err(Failure::Refused(refusal)) => {
            assert!(refusal.at <= text.len(), "{refusal:?}");
            format!("!{:?}", refusal.rule)
        }
        Err(Failure::Unsound) => panic!("not sound: {text}"),
    }
}

#[test]
fn where_nothing_is_asked_for_all_of_the_scope_is_and_no_more_than_can_be_sent() {
    use crate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};
    let of = |language, count: usize| {
        let values =
            (0..count).map(|number| LabelValue::parse(&format!("{number:0>200}")).unwrap());
        let rule = (LabelName::parse("ns").unwrap(), values.collect());
        let scope = Scope::new([rule]).unwrap();
        Matcher::new(language, &scope, &Attributes::default())
    };
    for (language, most) in [
        (Language::LogQl, 256),
        (Language::PromQl, 256),
        (Language::TraceQl, 4),
    ] {
        for shape in [Shape::Query, Shape::Selector] {
            let matcher = of(language, most);
            let text = whole(language, shape, &matcher).unwrap();
            assert_eq!(text, matcher.selector(language));
        }
    }
    let long = whole(Language::TraceQl, Shape::Query, &of(Language::TraceQl, 5));
    let rule = Rule::Length;
    assert_eq!(long, Err(Failure::Refused(Refusal { at: 0, rule })));
}

#[test]
fn texts_are_bounded() {
    for language in [Language::LogQl, Language::PromQl, Language::TraceQl] {
        let text = "a+".repeat(1 << 19);
        assert_eq!(run(language, Shape::Query, &text), "!Length");
    }
    let filters = "{ .a = 1 } || ".repeat(40) + "{ }";
    assert!(filters.len() < MAX_TRACEQL);
    assert_eq!(run(Language::TraceQl, Shape::Query, &filters), "!Length");
}

#[test]
fn many_selectors_with_a_long_matcher_are_too_long() {
    let value = LabelValue::parse(&"v".repeat(256)).unwrap();
    let scope_of_caller = Scope::single(LabelName::parse("rid").unwrap(), value);
    for (language, one) in [(Language::PromQl, "a+"), (Language::LogQl, "{}+")] {
        let matcher = Matcher::new(language, &scope_of_caller, &Attributes::default());
        let refused = scope(language, Shape::Query, &(one.repeat(1_000) + "1"), &matcher);
        let Err(Failure::Refused(refusal)) = refused else {
            panic!("{language:?}");
        };
        assert_eq!(refusal.rule, Rule::Length);
        assert!(scope(language, Shape::Query, &(one.repeat(900) + "1"), &matcher).is_ok());
    }
}

#[test]
fn a_refusal_names_the_place_and_the_rule() {
    let refused = scope(
        Language::PromQl,
        Shape::Query,
        "up + info(x)",
        &matcher(Language::PromQl),
    );
    let Err(Failure::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        refusal.to_string(),
        "at byte 5: unknown function, or one that reads series without a selector"
    );
}
