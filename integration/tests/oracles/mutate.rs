//! Queries that nobody would write: those of a corpus, torn apart and put together again.
//!
//! Most changes move whole tokens, so that many results are still queries. The others ignore tokens, and aim at
//! readers that split the text differently: quotes, comments, brackets, line ends, characters that are not letters.

use scopegate::scoping::query::Language;

use crate::words::{self, PAIRS};

/// Room for a scope in every selector before the oracles become slow.
const LONGEST: usize = 600;

/// More leave little of a query.
const MOST_CHANGES: usize = 4;

/// Numbers from a seed: SplitMix64.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64, block: u64) -> Self {
        Self(seed.wrapping_add(block.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap_or(1)).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of a list that is not empty.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Makes queries from those of a corpus.
pub struct Mutator<'a> {
    corpus: &'a [String],
    words: Vec<&'static str>,
    nasty: Vec<&'static str>,
    operators: Vec<&'static str>,
}

impl<'a> Mutator<'a> {
    pub fn new(language: Language, corpus: &'a [String]) -> Self {
        Self {
            corpus,
            words: words::of(language),
            nasty: words::nasty(),
            operators: words::operators(language),
        }
    }

    /// A query with one to four changes; made from one of `accepted` at times, which leads further away.
    pub fn mutate(&self, accepted: &[String], random: &mut Random) -> String {
        let mut text = if !accepted.is_empty() && random.one_in(3) {
            random.of(accepted).clone()
        } else {
            random.of(self.corpus).clone()
        };
        for _ in 0..MOST_CHANGES {
            text = match random.below(5) {
                0 | 1 => self.change_alike(&text, random),
                2 | 3 => self.change_tokens(&text, random),
                _ => self.change_characters(&text, random),
            };
            // Crossing over makes them longer and longer, and a long one says no more than a short one.
            if text.len() > LONGEST {
                let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(end.unwrap_or(0));
            }
            if random.one_in(2) {
                break;
            }
        }
        text
    }

    /// Changes after which it is more likely a query still.
    fn change_alike(&self, text: &str, random: &mut Random) -> String {
        let mut tokens = tokens(text);
        let others = self.other(random);
        let at = random.below(tokens.len() + 1);
        match random.below(6) {
            // A word for a word, a string for a string.
            0..=2 => {
                let kind = tokens.get(at).map(|token| kind(token));
                let alike: Vec<&str> = others
                    .iter()
                    .copied()
                    .filter(|token| Some(self::kind(token)) == kind)
                    .collect();
                if !alike.is_empty() {
                    tokens[at] = random.of::<&str>(&alike);
                }
            }
            3 => {
                tokens.insert(0, "(");
                tokens.push(")");
            }
            4 => {
                let operator = *random.of::<&str>(&self.operators);
                tokens.extend([" ", operator, " "]);
                tokens.extend(others);
            }
            _ => {
                let with: [&str; 4] = [" ", "\n", "\t", "# {a=\"b\"}\n"];
                tokens.insert(at, *random.of::<&str>(&with));
            }
        }
        tokens.concat()
    }

    fn change_tokens(&self, text: &str, random: &mut Random) -> String {
        let mut tokens = tokens(text);
        let at = random.below(tokens.len() + 1);
        let until = (at + 1 + random.below(4)).min(tokens.len());
        match random.below(10) {
            0 => drop(tokens.drain(at..until)),
            1 => tokens.insert(at, self.word(random)),
            2 => drop(tokens.splice(at..until, [self.word(random)])),
            3 => {
                let again = tokens[at..until].to_vec();
                tokens.splice(until..until, again);
            }
            4 if at < tokens.len() => {
                let with = random.below(tokens.len());
                tokens.swap(at, with);
            }
            // Another query's end, or a part of it in the middle.
            5 => {
                let others = self.other(random);
                tokens.truncate(at);
                tokens.extend_from_slice(&others[random.below(others.len() + 1)..]);
            }
            6 => {
                let others = self.other(random);
                let from = random.below(others.len() + 1);
                let to = (from + 1 + random.below(8)).min(others.len());
                tokens.splice(at..until, others[from..to].iter().copied());
            }
            7 => {
                let (open, close) = *random.of(PAIRS);
                tokens.insert(until, close);
                tokens.insert(at, open);
            }
            8 => {
                tokens.extend([" ", self.word(random), " "]);
                tokens.extend(self.other(random));
            }
            _ => tokens.insert(at, *random.of(&self.nasty)),
        }
        tokens.concat()
    }

    fn change_characters(&self, text: &str, random: &mut Random) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let at = random.below(characters.len() + 1);
        let until = (at + 1 + random.below(3)).min(characters.len());
        let nasty = random.of(&self.nasty).chars();
        match random.below(5) {
            0 => drop(characters.drain(at..until)),
            1 | 2 => drop(characters.splice(at..at, nasty)),
            3 => drop(characters.splice(at..until, nasty)),
            _ if at < characters.len() => {
                let with = random.below(characters.len());
                characters.swap(at, with);
            }
            _ => {}
        }
        characters.into_iter().collect()
    }

    fn other(&self, random: &mut Random) -> Vec<&'a str> {
        let text: &String = random.of(self.corpus);
        tokens(text)
    }

    fn word(&self, random: &mut Random) -> &'static str {
        if random.one_in(3) {
            random.of::<&'static str>(&self.nasty)
        } else {
            random.of::<&'static str>(&self.words)
        }
    }
}

/// What may stand for it: its first character, but all letters and digits are one.
fn kind(token: &str) -> char {
    match token.chars().next() {
        Some(first) if first.is_alphabetic() || first == '_' => 'a',
        Some(first) if first.is_ascii_digit() => '0',
        Some('"' | '`' | '\'') => '"',
        Some('+' | '-' | '*' | '/' | '%' | '^' | '=' | '!' | '<' | '>' | '~' | '&' | '|') => '+',
        other => other.unwrap_or(' '),
    }
}

/// Words, numbers, strings, spaces, and single characters for the rest. Roughly: readers that know better are what is
/// tried here.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.');
        let length = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if first == ' ' {
            rest.find(|c| c != ' ').unwrap_or(rest.len())
        } else if matches!(first, '"' | '`' | '\'') {
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| *c == first)
                .map_or(rest.len(), |(at, _)| at + first.len_utf8())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}
