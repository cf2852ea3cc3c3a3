//! import: sersync's confxml.xml: every `localpath` becomes a job with a destination for each `remote`.
//!
//! Pure. Touches: nothing.

use roxmltree::{Document, Node};

use super::Refused;
use super::draft::{Draft, Job, Rule, Word};
use super::places::Places;
use super::rsync;

/// Reads a whole config.
pub(super) fn read(text: &str, places: &Places) -> Result<Draft, Refused> {
    let document = Document::parse(text)
        .map_err(|error| Refused::malformed(error.pos().row as usize, format!("XML: {error}")))?;
    let xml = Xml { document: &document };
    let mut draft = Draft::default();
    let watched: Vec<Node> = xml.all("localpath").filter(|node| node.attribute("watch").is_some()).collect();
    // The plugins at the end of the shipped file have such elements too, which do nothing unless they are called.
    let watched =
        watched.into_iter().filter(|node| !node.ancestors().any(|above| above.has_tag_name("plugin")));
    for node in watched {
        let job = job(&xml, node, places)?;
        draft.add(job);
    }
    if draft.jobs.is_empty() {
        return Err(Refused::malformed(0, "sersync: no <localpath watch=\"...\"> is there"));
    }
    if let Some(plugin) = xml.all("plugin").find(|node| on(node)) {
        let name = plugin.attribute("name").unwrap_or_default();
        draft.remark(xml.line(plugin), format!("plugin {name} is left out: nothing is run for each change"));
    }
    Ok(draft)
}

struct Xml<'d> {
    document: &'d Document<'d>,
}

impl<'d> Xml<'d> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = Node<'d, 'd>> + use<'d> {
        self.document.descendants().filter(move |node| node.has_tag_name(name))
    }

    fn first(&self, name: &'static str) -> Option<Node<'d, 'd>> {
        self.all(name).next()
    }

    /// Whether an element is there and switched on.
    fn on(&self, name: &'static str) -> Option<Node<'d, 'd>> {
        self.first(name).filter(on)
    }

    fn line(&self, node: Node) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
    }
}

fn on(node: &Node) -> bool {
    node.attribute("start") == Some("true")
}

fn job(xml: &Xml, watched: Node, places: &Places) -> Result<Job, Refused> {
    let line = xml.line(watched);
    let params = xml.first("commonParams");
    let words: Vec<Word> = params.map_or_else(
        // What sersync runs when nothing is said.
        || vec![Word::new(line, "-artuz")],
        |node| {
            let params = node.attribute("params").unwrap_or_default();
            params.split_whitespace().map(|word| Word::new(xml.line(node), word)).collect()
        },
    );
    let spoken = rsync::read(&words);
    let mut job = spoken.job;
    for operand in &spoken.operands {
        job.open(operand.line, format!("commonParams: `{}` is no option", operand.text));
    }
    let source = watched.attribute("watch").unwrap_or_default();
    // sersync runs rsync in the directory and sends `./`.
    job.source = format!("{}/", source.trim_end_matches('/'));
    if !source.starts_with('/') {
        job.open(line, format!("watch `{source}` is relative to where sersync was started"));
    }
    events(xml, &mut job);
    habits(xml, &mut job, line);
    filters(xml, &mut job);
    schedule(xml, &mut job);
    let user = login(xml, &mut job);
    let remotes: Vec<Node> = watched.children().filter(|node| node.has_tag_name("remote")).collect();
    if remotes.is_empty() {
        return Err(Refused::malformed(line, "sersync: this localpath has no <remote>"));
    }
    for remote in remotes {
        let (ip, name) =
            (remote.attribute("ip").unwrap_or_default(), remote.attribute("name").unwrap_or_default());
        let colons = if xml.on("ssh").is_some() { ":" } else { "::" };
        places.add(&mut job, &Word::new(xml.line(remote), format!("{user}{ip}{colons}{name}")));
    }
    Ok(job)
}

/// The switches under `inotify`: here everything is seen.
fn events(xml: &Xml, job: &mut Job) {
    let Some(inotify) = xml.first("inotify") else { return };
    for node in inotify.children().filter(Node::is_element) {
        let (name, line) = (node.tag_name().name(), xml.line(node));
        match (name, on(&node)) {
            ("delete", true) => {
                job.delete = true;
                job.remark(
                    line,
                    "delete: sersync ran rsync with --delete on a source that nobody had proved: an empty or unmounted one \
                     emptied the copy; such deletions are held as a plan now (`driftless plan`), see brake",
                );
            }
            ("delete", false) => {
                job.remark(line, "delete was off: what is deleted here stays in the copy, as before");
            }
            ("createFile", false) | (_, true) => {}
            (name, false) => {
                job.remark(
                    line,
                    format!("{name} was off: such changes were not seen until the next one; now all are"),
                );
            }
        }
    }
}

/// What sersync does by itself.
fn habits(xml: &Xml, job: &mut Job, line: usize) {
    job.remark(
        line,
        "sersync never sent a name that begins with a dot or ends in ~, nor 4913: .env and .htaccess are not in the copy \
         yet, and will be; to leave them out write exclude = [\".*\", \"*~\", \"4913\"]",
    );
    job.remark(
        line,
        "sersync took rsync's exit code 23 for success and forgot what had failed; now it is tried again",
    );
    if let Some(log) = xml.first("failLog") {
        let path = log.attribute("path").unwrap_or_default();
        job.remark(
            xml.line(log),
            format!(
                "failLog {path}: a script that everybody may write, run by sersync's user; remove it. What fails is tried \
                 again without one"
            ),
        );
    }
    if let Some(port) = xml.on("userDefinedPort") {
        let number = port.attribute("port").unwrap_or_default();
        job.remark(
            xml.line(port),
            format!("port {number} is the rsync daemon's; driftlessd listens on 8730 unless its config says otherwise"),
        );
    }
    if let Some(timeout) = xml.on("timeout") {
        job.remark(
            xml.line(timeout),
            "timeout is left out: a watch may be silent for days, and a dead server is noticed by keep-alive",
        );
    }
    if xml.on("ssh").is_none() && xml.on("auth").is_none() {
        job.remark(
            line,
            "auth was off: the module took anybody; driftlessd wants auth users and a secrets file",
        );
    }
}

/// The user as it goes before the host, with its `@`.
fn login(xml: &Xml, job: &mut Job) -> String {
    let Some(auth) = xml.on("auth") else { return String::new() };
    job.password_file = auth.attribute("passwordfile").filter(|file| !file.is_empty()).map(str::to_owned);
    auth.attribute("users").filter(|user| !user.is_empty()).map_or(String::new(), |user| format!("{user}@"))
}

/// Both filters: expressions over the whole path of an event, and rsync's patterns for the run by the clock.
fn filters(xml: &Xml, job: &mut Job) {
    let expressions = |node: Node<'_, '_>| -> Vec<(usize, String)> {
        let excludes = node.children().filter(|node| node.has_tag_name("exclude"));
        let found =
            excludes.filter_map(|node| Some((xml.line(node), node.attribute("expression")?.to_owned())));
        found.collect()
    };
    let outside = |node: &Node| !node.ancestors().any(|above| above.has_tag_name("plugin"));
    if let Some(filter) = xml.all("filter").filter(outside).find(on) {
        for (line, expression) in expressions(filter) {
            match pattern(&expression) {
                Some(pattern) => job.rules.push(Rule::Exclude(pattern)),
                None => job.open(
                    line,
                    format!("the expression `{expression}` has no certain counterpart; write it as a pattern in exclude"),
                ),
            }
        }
    }
    if let Some(filter) = xml.on("crontabfilter").filter(|_| xml.on("crontab").is_some()) {
        for (_, expression) in expressions(filter) {
            if !job.rules.contains(&Rule::Exclude(expression.clone())) {
                job.rules.push(Rule::Exclude(expression));
            }
        }
    }
}

/// An expression as rsync's pattern, for the forms that the shipped file shows and people follow: `(.*)\.svn`,
/// `^info/*`, and plain names.
fn pattern(expression: &str) -> Option<String> {
    let plain = |text: &str| {
        !text.is_empty() && !text.contains(['*', '?', '[', ']', '(', ')', '|', '+', '{', '}', '^', '$'])
    };
    let body = expression.strip_suffix('$').unwrap_or(expression);
    if let Some(end) = body.strip_prefix("(.*)").or_else(|| body.strip_prefix(".*")) {
        let literal = end.replace("\\.", ".");
        return (plain(&literal) && !literal.contains('\\')).then(|| format!("*{literal}"));
    }
    let body = body.strip_prefix('^').unwrap_or(body);
    let (body, below) = match body
        .strip_suffix("/*")
        .or_else(|| body.strip_suffix("/.*"))
        .or_else(|| body.strip_suffix("/(.*)"))
    {
        Some(dir) => (dir, "/"),
        None => (body, ""),
    };
    let literal = body.replace("\\.", ".");
    // A dot that is not escaped stands for any byte, but whoever wrote it meant a dot.
    (plain(&literal) && !literal.contains('\\')).then(|| format!("/{}{below}", literal.trim_matches('/')))
}

/// `crontab`: a full run every so many minutes.
fn schedule(xml: &Xml, job: &mut Job) {
    let Some(crontab) = xml.on("crontab") else { return };
    let line = xml.line(crontab);
    let minutes =
        crontab.attribute("schedule").and_then(|minutes| minutes.trim().parse::<u32>().ok()).unwrap_or(600);
    let schedule = match minutes {
        0 => None,
        1..60 => Some((format!("*/{minutes} * * * *"), 60 % minutes == 0)),
        60..1440 => {
            Some((format!("0 */{} * * *", minutes / 60), minutes % 60 == 0 && 24 % (minutes / 60) == 0))
        }
        _ => Some(("30 3 * * *".to_owned(), false)),
    };
    match schedule {
        None => job.remark(line, "crontab: a schedule of 0 minutes is none"),
        Some((cron, exact)) => {
            if !exact {
                job.remark(
                    line,
                    format!("crontab: every {minutes} minutes became `{cron}`, which comes near it"),
                );
            }
            job.schedule = Some(cron);
        }
    }
}
