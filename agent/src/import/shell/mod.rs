//! import: a shell script as the commands that it would run, in their order, with the values of its variables where the
//! file itself gives them. Both ways of an `if` are taken, a `while` once, a `for` over known words once for each.
//!
//! Pure. Touches: nothing.

mod tokens;

use std::collections::HashMap;

use self::tokens::{Change, Piece, Raw, Token, tokens};
use super::Refused;
use super::draft::Word;

/// A command that the script would run.
#[derive(Clone, Debug)]
pub(in crate::import) struct Command {
    /// Its name and what follows it, without redirections; never empty.
    pub(in crate::import) words: Vec<Word>,
    /// Where it begins.
    pub(in crate::import) line: usize,
    /// The outermost `while` or `until` that it stands in, or, of what feeds one, that one.
    pub(in crate::import) round: Option<usize>,
    /// Whether its output goes to /dev/null.
    pub(in crate::import) silenced: bool,
    /// Whether what comes after hangs on how it ends.
    pub(in crate::import) checked: bool,
    /// Variables set for it alone, by name.
    pub(in crate::import) environment: Vec<String>,
    /// The directory that the last `cd` before it went to.
    pub(in crate::import) directory: Option<Word>,
}

/// What a script does.
#[derive(Debug, Default)]
pub(in crate::import) struct Script {
    /// In the order in which they would be run.
    pub(in crate::import) commands: Vec<Command>,
    /// The variables that `read` sets: what changes with each event.
    pub(in crate::import) events: Vec<String>,
    /// Variables with a value of their own, and where they got it.
    pub(in crate::import) set: Vec<(String, usize)>,
}

/// Follows a whole script. `feeds` tells whether a command, by its words, feeds a loop with events.
pub(in crate::import) fn read(text: &str, feeds: fn(&[Word]) -> bool) -> Result<Script, Refused> {
    let tokens = tokens(text, 1)?;
    let mut walk = Walk { feeds, ..Walk::default() };
    walk.run(&tokens, 0);
    Ok(walk.script)
}

/// Calls within calls are followed this deep.
const DEPTH_MAX: usize = 8;

struct Walk {
    script: Script,
    feeds: fn(&[Word]) -> bool,
    values: HashMap<String, Vec<Word>>,
    functions: HashMap<String, Vec<Token>>,
    directory: Option<Word>,
    /// The loops we are in, outermost first; and how many there have been.
    rounds: Vec<usize>,
    count: usize,
    /// The loop that ended last.
    closed: Option<usize>,
    /// Commands, by index, that feed the next loop.
    feeding: Vec<usize>,
    /// How many `if` and `case` we are in.
    branches: usize,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            script: Script::default(),
            feeds: |_| false,
            values: HashMap::new(),
            functions: HashMap::new(),
            directory: None,
            rounds: Vec::new(),
            count: 0,
            closed: None,
            feeding: Vec::new(),
            branches: 0,
        }
    }
}

/// Words that stand before a command without being it.
const RESERVED: &[&str] = &["do", "then", "else", "elif", "if", "!", "{", "}", "time", "fi", "esac"];

/// The command that is being read.
#[derive(Default)]
struct Open {
    words: Vec<Raw>,
    silenced: bool,
    /// Behind `if`, `!`, `while`: the end decides.
    checked: bool,
    /// Behind `&&` or `||`: perhaps.
    chained: bool,
    /// Within `<( ... )`.
    substituted: bool,
}

impl Walk {
    /// Follows these tokens; `depth` calls deep.
    fn run(&mut self, tokens: &[Token], depth: usize) {
        let mut open = Open::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                Token::List { name, words, add } => {
                    let key = format!("{name}[@]");
                    let before = self.values.get(&key).filter(|_| *add).cloned();
                    let more = words.iter().flat_map(|word| self.expand(word));
                    let values = before.into_iter().flatten().chain(more).collect();
                    self.values.insert(key, values);
                }
                Token::Word(word) if open.words.is_empty() => match word.literal() {
                    Some("for") => at = self.each(tokens, at, depth),
                    Some("while" | "until") => {
                        self.begin_round();
                        open.checked = true;
                    }
                    Some("done") => self.end_round(),
                    Some("function") => {}
                    Some(reserved) if RESERVED.contains(&reserved) => {
                        open.checked |= matches!(reserved, "if" | "elif" | "!");
                        self.branches += usize::from(reserved == "if");
                        let closes = matches!(reserved, "fi" | "esac");
                        self.branches -= usize::from(closes && self.branches > 0);
                    }
                    _ => match function(tokens, at) {
                        Some((body, end)) => {
                            let name = word.literal().unwrap_or_default().to_owned();
                            self.functions.insert(name, tokens[body..end].to_vec());
                            at = end + 1;
                        }
                        None => open.words.push(word.clone()),
                    },
                },
                Token::Word(word) => open.words.push(word.clone()),
                Token::Operator(operator, _) => match *operator {
                    "<" | ">" | ">>" | ">&" | "<&" | "&>" | "&>>" | ">|" | "<>" | "<<<" => {
                        if let Some(Token::Word(target)) = tokens.get(at) {
                            at += 1;
                            open.silenced |= operator.contains('>') && target.literal() == Some("/dev/null");
                        }
                    }
                    // The word was taken with the document.
                    "<<" | "<<-" => {}
                    _ => {
                        let chained = matches!(*operator, "&&" | "||");
                        open.checked |= chained;
                        self.command(std::mem::take(&mut open), depth);
                        open.chained = chained;
                        open.substituted = *operator == "<(";
                    }
                },
            }
        }
        self.command(open, depth);
    }

    fn begin_round(&mut self) {
        if self.rounds.is_empty() {
            for index in self.feeding.drain(..) {
                self.script.commands[index].round = Some(self.count);
            }
        }
        self.rounds.push(self.count);
        self.count += 1;
    }

    fn end_round(&mut self) {
        self.closed = self.rounds.pop();
    }

    /// `for NAME in WORD...; do ...; done`: `at` is behind `for`. Gives back where it ends.
    fn each(&mut self, tokens: &[Token], at: usize, depth: usize) -> usize {
        let name = match tokens.get(at) {
            Some(Token::Word(name)) => name.literal().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let is =
            |token: &Token, text: &str| matches!(token, Token::Word(word) if word.literal() == Some(text));
        let Some(begin) = tokens[at..].iter().position(|token| is(token, "do")).map(|found| at + found)
        else {
            return tokens.len();
        };
        let mut nested = 0;
        let end = tokens[begin..].iter().position(|token| {
            nested += usize::from(is(token, "do"));
            nested -= usize::from(is(token, "done"));
            nested == 0
        });
        let end = end.map_or(tokens.len(), |found| begin + found);
        let list: Vec<Word> = tokens[(at + 1).min(begin)..begin]
            .iter()
            .filter(|token| !is(token, "in"))
            .filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None })
            .flat_map(|word| self.expand(word))
            .collect();
        let line = list.first().map_or(1, |word| word.line);
        let unknown = Word { text: format!("${name}"), line, unknown: Some(format!("${name}")) };
        let values = if list.is_empty() { vec![unknown] } else { list };
        for value in values {
            self.values.insert(name.clone(), vec![value]);
            self.run(&tokens[begin + 1..end.min(tokens.len())], depth);
        }
        end + 1
    }

    /// A command is complete.
    fn command(&mut self, open: Open, depth: usize) {
        let Open { words, silenced, checked, chained, substituted } = open;
        let perhaps = chained || self.branches > 0;
        for piece in words.iter().flat_map(|word| &word.pieces) {
            if let Piece::Code { tokens, .. } = piece
                && depth < DEPTH_MAX
            {
                self.run(tokens, depth + 1);
            }
        }
        let Some(first) = words.first() else { return };
        let line = first.line;
        let set = words.iter().take_while(|word| assignment(word).is_some()).count();
        let (assigned, words) = words.split_at(set);
        if words.is_empty() {
            return self.assign(assigned, perhaps);
        }
        let mut words: Vec<Word> = words.iter().flat_map(|word| self.expand(word)).collect();
        // An empty variable may leave nothing.
        let Some(name) = words.first().map(|word| word.text.clone()) else { return };
        match name.as_str() {
            "export" | "local" | "readonly" | "declare" | "typeset" => {
                for word in words.iter().skip(1) {
                    if let Some((name, value)) = word.text.split_once('=') {
                        let value = Word { text: value.to_owned(), ..word.clone() };
                        self.set(name, value, perhaps);
                    }
                }
                return;
            }
            "cd" | "pushd" => self.directory = words.get(1).cloned(),
            "case" => self.branches += 1,
            "read" => self.set_events(&words),
            _ => {}
        }
        if let Some(body) = self.functions.get(&name).cloned() {
            if depth < DEPTH_MAX {
                self.call(&body, words.split_off(1), depth);
            }
            return;
        }
        let environment = assigned.iter().filter_map(|word| Some(assignment(word)?.0.to_owned())).collect();
        let directory = self.directory.clone();
        let round = self.rounds.first().copied();
        let feeds = (self.feeds)(&words);
        let command = Command { words, line, round, silenced, checked, environment, directory };
        self.script.commands.push(command);
        if feeds && round.is_none() {
            let last = self.script.commands.len() - 1;
            match self.closed.filter(|_| substituted) {
                Some(closed) => self.script.commands[last].round = Some(closed),
                None => self.feeding.push(last),
            }
        }
    }

    fn call(&mut self, body: &[Token], arguments: Vec<Word>, depth: usize) {
        let before = self.values.clone();
        self.values.insert("@".to_owned(), arguments.clone());
        for (at, argument) in arguments.into_iter().enumerate() {
            self.values.insert((at + 1).to_string(), vec![argument]);
        }
        self.run(body, depth + 1);
        self.values = before;
    }

    fn assign(&mut self, words: &[Raw], perhaps: bool) {
        for word in words {
            let Some((name, value)) = assignment(word) else { continue };
            // The value of an assignment is never split.
            let more = self.join(&value);
            let (name, value) = match name.strip_suffix('+') {
                Some(name) => {
                    let before = self.values.get(name).and_then(|values| values.first()).cloned();
                    let mut whole = before.unwrap_or_else(|| Word::new(more.line, ""));
                    append(&mut whole, &more.text, more.unknown.as_ref());
                    (name, whole)
                }
                None => (name, more),
            };
            self.set(name, value, perhaps);
        }
    }

    /// Gives a variable its value. One that `perhaps` keeps another one has none that can be known.
    fn set(&mut self, name: &str, mut value: Word, perhaps: bool) {
        self.script.set.push((name.to_owned(), value.line));
        let events = &self.script.events;
        let event = |word: &Word| word.unknown.as_ref().is_some_and(|unknown| events.contains(unknown));
        let before = self.values.get(name).and_then(|values| values.first());
        let other = |before: &Word| before.text != value.text && !(event(before) && event(&value));
        if perhaps && before.is_some_and(other) {
            value.text = format!("${name}");
            value.unknown = Some(format!("${name}, which has more than one,"));
        }
        self.values.insert(name.to_owned(), vec![value]);
    }

    fn set_events(&mut self, words: &[Word]) {
        for word in words.iter().skip(1).filter(|word| !word.text.starts_with('-')) {
            let shown = format!("${}", word.text);
            self.script.events.push(shown.clone());
            let value = Word { text: shown.clone(), line: word.line, unknown: Some(shown) };
            self.values.insert(word.text.clone(), vec![value]);
        }
    }

    /// The words that a word becomes: none where all it holds is an unquoted empty variable.
    fn expand(&self, raw: &Raw) -> Vec<Word> {
        let mut words = Vec::new();
        let mut word: Option<Word> = None;
        let new = || Word::new(raw.line, "");
        for piece in &raw.pieces {
            match piece {
                Piece::Text(text) => word.get_or_insert_with(new).text.push_str(text),
                Piece::Code { text, tokens } => {
                    append(word.get_or_insert_with(new), text, Some(&self.code(text, tokens)));
                }
                Piece::Variable { name, change, quoted } => {
                    let values = self.value(name, change, raw.line);
                    let split = !quoted || name == "@" || name.ends_with("[@]");
                    for (at, value) in values.iter().enumerate() {
                        if at > 0 && split {
                            words.extend(word.take());
                        }
                        if *quoted || value.unknown.is_some() {
                            append(word.get_or_insert_with(new), &value.text, value.unknown.as_ref());
                            continue;
                        }
                        if value.text.starts_with(char::is_whitespace) {
                            words.extend(word.take());
                        }
                        for (at, part) in value.text.split_whitespace().enumerate() {
                            if at > 0 {
                                words.extend(word.take());
                            }
                            append(word.get_or_insert_with(new), part, None);
                        }
                        if value.text.ends_with(char::is_whitespace) {
                            words.extend(word.take());
                        }
                    }
                }
            }
        }
        words.extend(word);
        words
    }

    /// One word, whatever its variables hold.
    fn join(&self, raw: &Raw) -> Word {
        let mut word = Word::new(raw.line, "");
        for piece in &raw.pieces {
            match piece {
                Piece::Text(text) => word.text.push_str(text),
                Piece::Code { text, tokens } => append(&mut word, text, Some(&self.code(text, tokens))),
                Piece::Variable { name, change, .. } => {
                    for value in self.value(name, change, raw.line) {
                        append(&mut word, &value.text, value.unknown.as_ref());
                    }
                }
            }
        }
        word
    }

    /// What makes `$(...)` unknown: itself, or the event that it makes something of.
    fn code(&self, text: &str, tokens: &[Token]) -> String {
        let words =
            tokens.iter().filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None });
        let mut unknown = words.filter_map(|word| self.join(word).unknown);
        let event = unknown.find(|unknown| self.script.events.contains(unknown));
        event.unwrap_or_else(|| text.to_owned())
    }

    /// What a variable holds.
    fn value(&self, name: &str, change: &Change, line: usize) -> Vec<Word> {
        let known = self.values.get(name).or_else(|| self.values.get(&format!("{name}[@]")));
        let unknown = |text: String| vec![Word { text: text.clone(), line, unknown: Some(text) }];
        match (change, known) {
            (Change::None, Some(values)) => values.clone(),
            (Change::Default(or), None) => vec![Word::new(line, or.clone())],
            (Change::Default(or), Some(values)) if values.iter().all(|value| value.text.is_empty()) => {
                vec![Word::new(line, or.clone())]
            }
            (Change::Default(_), Some(values)) => values.clone(),
            (Change::WithoutEnd(end), Some(values)) => {
                let cut = |word: &Word| Word {
                    text: word.text.strip_suffix(end.as_str()).unwrap_or(&word.text).to_owned(),
                    ..word.clone()
                };
                values.iter().map(cut).collect()
            }
            (Change::Unknown(text), Some(values)) => {
                // What is done to an event's path leaves it one.
                let unknown =
                    values.iter().find_map(|value| value.unknown.clone()).unwrap_or_else(|| text.clone());
                vec![Word { text: text.clone(), line, unknown: Some(unknown) }]
            }
            (Change::Unknown(text), None) => unknown(text.clone()),
            (_, None) => unknown(format!("${name}")),
        }
    }
}

fn append(word: &mut Word, text: &str, unknown: Option<&String>) {
    word.text.push_str(text);
    if word.unknown.is_none() {
        word.unknown = unknown.cloned();
    }
}

/// `NAME=VALUE`, cut apart; of `NAME+=VALUE` the plus stays with the name.
fn assignment(word: &Raw) -> Option<(&str, Raw)> {
    let (Piece::Text(first), rest) = word.pieces.split_first()? else { return None };
    let (name, value) = first.split_once('=')?;
    let bare = name.strip_suffix('+').unwrap_or(name);
    let plain = bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if bare.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let pieces = std::iter::once(Piece::Text(value.to_owned())).chain(rest.iter().cloned()).collect();
    Some((name, Raw { pieces, line: word.line }))
}

/// Whether a function is defined here: `at` is behind its name. Where its body begins, and where it ends.
fn function(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    let operator =
        |at: usize, text: &str| matches!(tokens.get(at), Some(Token::Operator(found, _)) if *found == text);
    let word = |token: &Token, text: &str| matches!(token, Token::Word(word) if word.literal() == Some(text));
    let keyword = at >= 2 && word(&tokens[at - 2], "function");
    let mut at = if operator(at, "(") && operator(at + 1, ")") {
        at + 2
    } else if keyword {
        at
    } else {
        return None;
    };
    while operator(at, "\n") {
        at += 1;
    }
    if !tokens.get(at).is_some_and(|token| word(token, "{")) {
        return None;
    }
    let mut nested = 0;
    let end = tokens[at..].iter().position(|token| {
        nested += usize::from(word(token, "{"));
        nested -= usize::from(word(token, "}"));
        nested == 0
    })?;
    Some((at + 1, at + end))
}
