//! Texts that an operator can replace: built-in templates, and in place of them the files of a folder, one by one.
//!
//! Invariants: values are escaped in templates whose name ends in `.html`; a value that is not there is an error; nobody but
//! authd's user and root can write in the folder; a fault names the file, and its line. Each module renders its templates
//! with samples when it loads them, so that one that cannot be rendered is found then.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::setting::{check_writers, nearest};

/// The largest template, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// The templates of a module.
#[derive(Debug)]
pub struct Set {
    /// The setting that names the folder.
    pub setting: &'static str,
    /// The built-in files: name and source.
    pub built_in: &'static [(&'static str, &'static str)],
    /// Which values there are, for the person whose template uses another.
    pub values: &'static str,
}

impl Set {
    /// The built-in templates. One that cannot be compiled is not there.
    fn compile(&self) -> Environment<'static> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in self.built_in {
            let _ = env.add_template(name, source);
        }
        env
    }
}

/// The templates of a set. The built-in ones alone are compiled at the first use.
#[derive(Debug)]
pub struct Templates {
    env: OnceLock<Environment<'static>>,
    set: &'static Set,
    folder: Option<PathBuf>,
}

/// A template of the operator.
struct TemplateFile {
    name: String,
    source: String,
}

impl Templates {
    /// The built-in templates, and those of the folder in place of them.
    pub fn load(set: &'static Set, folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let templates = Self { env: OnceLock::new(), set, folder: folder.map(Path::to_owned) };
        if folder.is_none() {
            return Ok(templates);
        }
        let mut env = set.compile();
        let mut faults = Vec::new();
        for file in templates.files().unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        }) {
            if let Err(error) = env.add_template_owned(file.name, file.source) {
                faults.push(templates.told(&error));
            }
        }
        let templates = Self { env: env.into(), ..templates };
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    /// Whether all are the built-in ones, which the tests render.
    pub fn is_built_in(&self) -> bool {
        self.folder.is_none()
    }

    /// The text of a template with these values.
    pub fn render(&self, name: &str, values: Value) -> Result<String, String> {
        let env = self.env.get_or_init(|| self.set.compile());
        let rendered = env.get_template(name).and_then(|template| template.render(values));
        rendered.map_err(|error| self.told(&error))
    }

    /// The name of a template's file, in the folder if it is there.
    pub fn shown(&self, name: &str) -> String {
        match self.folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists()) {
            Some(path) => format!("{}: {}", self.set.setting, path.display()),
            None => format!("the built-in template {name}"),
        }
    }

    fn told(&self, error: &Error) -> String {
        // Of a template within another, the inner one is at fault.
        let mut error = error;
        while let Some(inner) = error.source().and_then(|source| source.downcast_ref()) {
            error = inner;
        }
        let place = self.shown(error.name().unwrap_or_default());
        let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let known = if error.kind() == ErrorKind::UndefinedError { self.set.values } else { "" };
        format!("{place}{line}: {}{detail}{known}", error.kind())
    }

    /// The files of the folder; hidden ones are left out.
    fn files(&self) -> Result<Vec<TemplateFile>, String> {
        let (setting, built_in) = (self.set.setting, self.set.built_in);
        let Some(folder) = self.folder.as_deref() else { return Ok(Vec::new()) };
        let of = |path: &Path, error: std::io::Error| format!("{setting}: {}: {error}", path.display());
        let writers = |path: &Path| -> Result<fs::Metadata, String> {
            let metadata = fs::metadata(path).map_err(|error| of(path, error))?;
            check_writers(path, &metadata).map_err(|fault| format!("{setting}: {fault}"))?;
            Ok(metadata)
        };
        if !writers(folder)?.is_dir() {
            return Err(format!("{setting}: {} is not a folder", folder.display()));
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| of(folder, error))? {
            let path = entry.map_err(|error| of(folder, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            if !built_in.iter().any(|(known, _)| *known == name) {
                let hint = nearest(&name, built_in.iter().map(|(known, _)| *known)).unwrap_or_default();
                return Err(format!("{setting}: {} is no template; did you mean {hint}?", path.display()));
            }
            let metadata = writers(&path)?;
            if !metadata.is_file() || metadata.len() > MAX_FILE {
                return Err(format!("{setting}: {} is not a file of at most {MAX_FILE} bytes", path.display()));
            }
            let source = fs::read_to_string(&path).map_err(|error| of(&path, error))?;
            files.push(TemplateFile { name, source });
        }
        Ok(files)
    }
}
