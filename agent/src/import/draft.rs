//! import: what was read, whatever it was written in: jobs, and what has to be said about them.
//!
//! Pure. Touches: nothing.

/// Something to be said about a line of the file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// Counted from 1; 0 for what no line says.
    pub(super) line: usize,
    /// One line for the operator.
    pub(super) text: String,
}

impl Remark {
    /// About this line.
    pub(super) fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

/// A piece of text of the file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The text; what could not be known (`$1`) stands in it as it was written.
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// The first part whose value cannot be known from the file alone.
    pub(super) unknown: Option<String>,
}

impl Word {
    /// Text that is known.
    pub(super) fn new(line: usize, text: impl Into<String>) -> Self {
        Self { text: text.into(), line, unknown: None }
    }
}

/// An include or exclude rule, with the option that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `--exclude`.
    Exclude(String),
    /// `--include`.
    Include(String),
    /// `--exclude-from`.
    ExcludeFrom(String),
    /// `--include-from`.
    IncludeFrom(String),
}

/// How rules can be written down so that their order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each kind under its own key: inclusions count before exclusions.
    ByKind,
    /// One list.
    Ordered,
}

impl Rule {
    /// The form for these rules; `None` where there is none.
    pub(super) fn form(rules: &[Self]) -> Option<Form> {
        let prefixed = |text: &str| text.starts_with("+ ") || text.starts_with("- ") || text == "!";
        let own = |rule: &Self| matches!(rule, Self::Exclude(text) | Self::Include(text) if prefixed(text));
        let exclusion = |rule: &Self| matches!(rule, Self::Exclude(_) | Self::ExcludeFrom(_));
        let file = |rule: &Self| matches!(rule, Self::ExcludeFrom(_) | Self::IncludeFrom(_));
        if !rules.iter().any(own) && rules.is_sorted_by_key(exclusion) {
            Some(Form::ByKind)
        } else {
            (!rules.iter().any(file) && !rules.contains(&Self::Exclude("!".into()))).then_some(Form::Ordered)
        }
    }

    /// As a list that keeps an order has it.
    pub(super) fn ordered(&self) -> String {
        let sign = if matches!(self, Self::Exclude(_) | Self::ExcludeFrom(_)) { "- " } else { "+ " };
        let text = self.text();
        if text.starts_with("+ ") || text.starts_with("- ") {
            text.to_owned()
        } else {
            format!("{sign}{text}")
        }
    }

    /// The pattern, or the file.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Exclude(text) | Self::Include(text) | Self::ExcludeFrom(text) | Self::IncludeFrom(text) => {
                text
            }
        }
    }

    /// The key that it has of its own.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Exclude(_) => "exclude",
            Self::Include(_) => "include",
            Self::ExcludeFrom(_) => "exclude-from",
            Self::IncludeFrom(_) => "include-from",
        }
    }
}

/// Where the copy lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As it goes into the file.
    pub(super) operand: String,
    /// Where it is named.
    pub(super) line: usize,
}

/// A source, and where its copies lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Job {
    /// With rsync's trailing slash where the content is meant.
    pub(super) source: String,
    /// One or more.
    pub(super) targets: Vec<Target>,
    /// `options`, as `-rlt`.
    pub(super) options: String,
    /// `delete`.
    pub(super) delete: bool,
    /// `compress`.
    pub(super) compress: bool,
    /// `bwlimit`.
    pub(super) bwlimit: Option<String>,
    /// `brake`.
    pub(super) brake: Option<String>,
    /// `password-file`.
    pub(super) password_file: Option<String>,
    /// `schedule`, in cron's five fields.
    pub(super) schedule: Option<String>,
    /// In the order in which they count.
    pub(super) rules: Vec<Rule>,
    /// What to know about this job.
    pub(super) remarks: Vec<Remark>,
    /// What only the operator can say. Such a job is written so that no agent takes it.
    pub(super) open: Vec<Remark>,
}

impl Job {
    /// Adds a remark, once.
    pub(super) fn remark(&mut self, line: usize, text: impl Into<String>) {
        push(&mut self.remarks, Remark::new(line, text));
    }

    /// Adds something that the operator has to complete, once.
    pub(super) fn open(&mut self, line: usize, text: impl Into<String>) {
        push(&mut self.open, Remark::new(line, text));
    }

    /// Whether the two can be one: they differ in nothing but where the copies lie, or in nothing.
    fn fits(&self, other: &Self) -> bool {
        let texts = |job: &Self| job.open.iter().map(|open| open.text.clone()).collect::<Vec<_>>();
        let operands =
            |job: &Self| job.targets.iter().map(|target| target.operand.clone()).collect::<Vec<_>>();
        let bare =
            |job: &Self| Self { targets: Vec::new(), remarks: Vec::new(), open: Vec::new(), ..job.clone() };
        let whole = self.open.is_empty() && other.open.is_empty();
        bare(self) == bare(other)
            && texts(self) == texts(other)
            && (whole || operands(self) == operands(other))
    }
}

/// All that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// In the order of the file.
    pub(super) jobs: Vec<Job>,
    /// About the file as a whole.
    pub(super) remarks: Vec<Remark>,
}

impl Draft {
    /// Adds a job, or, where one of the same kind is there already, its copies to that one: an initial rsync and the
    /// one of the loop are one job, and so are two destinations of one source.
    pub(super) fn add(&mut self, job: Job) {
        let Some(same) = self.jobs.iter_mut().find(|known| known.fits(&job)) else {
            self.jobs.push(job);
            return;
        };
        for target in job.targets {
            if !same.targets.iter().any(|known| known.operand == target.operand) {
                same.targets.push(target);
            }
        }
        for remark in job.remarks {
            push(&mut same.remarks, remark);
        }
    }

    /// Adds a remark about the whole, once.
    pub(super) fn remark(&mut self, line: usize, text: impl Into<String>) {
        push(&mut self.remarks, Remark::new(line, text));
    }

    /// Marks what no config may say: two jobs that write to one destination, and rules whose order it cannot keep.
    pub(super) fn check(&mut self) {
        let mut taken: Vec<(String, usize)> = Vec::new();
        for job in &mut self.jobs {
            let rules = std::mem::take(&mut job.rules);
            if Rule::form(&rules).is_none() {
                job.open(0, "include and exclude rules are mixed with files of rules: their order cannot be kept; write rules = [...]");
            }
            job.rules = rules;
            for target in job.targets.clone() {
                match taken.iter().find(|(operand, _)| *operand == target.operand) {
                    Some((operand, line)) => {
                        let why = format!(
                            "{operand} is written to by the rsync of line {line} too, with another source or other options: keep one"
                        );
                        job.open(target.line, why);
                    }
                    None => taken.push((target.operand, target.line)),
                }
            }
        }
    }

    /// Whether something has to be completed before an agent takes the file.
    pub(super) fn is_open(&self) -> bool {
        self.jobs.iter().any(|job| !job.open.is_empty())
    }
}

/// Once is enough, whatever the line: a loop says the same of each of its commands.
fn push(remarks: &mut Vec<Remark>, remark: Remark) {
    if !remarks.iter().any(|known| known.text == remark.text) {
        remarks.push(remark);
    }
}
