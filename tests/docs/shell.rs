//! How a shell would understand a block of commands: which programs it starts, with which
//! words.
//!
//! It knows quotes, escapes, comments, pipes, lists and redirections, which is what the pages
//! use. `$` and what follows it stay as they are written.

/// The commands of a block: of `sh` all of it, of `console` what stands behind `$ `, up to the end of the command.
pub fn commands(info: &str, text: &str) -> Vec<Vec<String>> {
    if info != "console" {
        return split(text).0;
    }
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            continue;
        };
        let mut command = command.to_owned();
        loop {
            let (commands, complete) = split(&command);
            if complete {
                found.extend(commands);
                break;
            }
            let next = lines.next();
            command.push('\n');
            command.push_str(next.unwrap_or_else(|| panic!("it does not end: {command}")));
        }
    }
    found
}

/// The simple commands of a text, and whether it is complete: no quote is open, and no line goes on.
fn split(text: &str) -> (Vec<Vec<String>>, bool) {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    // The next word is the file of a redirection.
    let mut redirected = false;
    let mut letters = text.chars().peekable();
    let mut complete = true;
    while let Some(letter) = letters.next() {
        complete = true;
        match letter {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                complete = false;
                while let Some(inner) = letters.next() {
                    match inner {
                        _ if inner == letter => {
                            complete = true;
                            break;
                        }
                        '\\' if letter == '"' => word.extend(letters.next()),
                        _ => word.push(inner),
                    }
                }
                if !complete {
                    break;
                }
            }
            '\\' => match letters.next() {
                // The line goes on.
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => complete = false,
            },
            '#' if word.is_none() => while letters.next_if(|letter| *letter != '\n').is_some() {},
            '$' if letters.peek() == Some(&'(') => {
                let word = word.get_or_insert_default();
                word.push('$');
                let mut depth = 0;
                for inner in letters.by_ref() {
                    word.push(inner);
                    depth += i32::from(inner == '(') - i32::from(inner == ')');
                    if depth == 0 {
                        break;
                    }
                }
                complete = depth == 0;
            }
            ' ' | '\t' | '\n' | '|' | '&' | ';' | '<' | '>' => {
                let is_number = word.as_ref().is_some_and(|word| word.parse::<u8>().is_ok());
                match word.take() {
                    // 2>&1
                    Some(_) if is_number && matches!(letter, '<' | '>') => {}
                    Some(_) if redirected => redirected = false,
                    Some(word) => words.push(word),
                    None => {}
                }
                match letter {
                    '<' | '>' => {
                        while letters.next_if(|letter| "<>&".contains(*letter)).is_some() {}
                        redirected = true;
                    }
                    ' ' | '\t' => {}
                    _ => {
                        redirected = false;
                        if !words.is_empty() {
                            commands.push(std::mem::take(&mut words));
                        }
                        complete = letter == '\n' || letter == ';' || letter == '&';
                    }
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word.filter(|_| !redirected));
    if !words.is_empty() {
        commands.push(words);
    }
    (commands, complete)
}

#[test]
fn commands_are_what_a_shell_would_start() {
    let text = "# not this\nA=1 scopegate check --strict - <in 2>&1 | sed 's/a b/\"c\"/' \\\n  >out && x \"y z\" # nor this\n$ not a prompt\n";
    let said = commands("sh", text);
    let expected: [&[&str]; 4] = [
        &["A=1", "scopegate", "check", "--strict", "-"],
        &["sed", "s/a b/\"c\"/"],
        &["x", "y z"],
        &["$", "not", "a", "prompt"],
    ];
    assert_eq!(said, expected);
    let said = commands("console", "$ a 'b\nc' |\n  d $(e f)\nprinted | text\n$ g\n");
    let expected: [&[&str]; 3] = [&["a", "b\nc"], &["d", "$(e f)"], &["g"]];
    assert_eq!(said, expected);
}
