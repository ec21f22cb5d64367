//! `import` statements. A path is relative to the importing file. Imported files are
//! read and checked before the run.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rhai::{
    AST, ASTNode, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared, Stmt,
};

use super::literal::literal;
use super::source_file::SourceFile;
use crate::error::{Error, ErrorKind, Place, Result};

/// One `import` statement.
pub(super) struct Import {
    /// Path of the imported file.
    pub(super) file: String,
    /// Name of the module in the importing file.
    pub(super) alias: String,
    /// Place of the statement.
    pub(super) place: Place,
}

/// Returns the imports of a file. The paths must be literals, because all imported
/// files are checked before the run.
pub(super) fn of(path: &str, directory: &Path, ast: &AST) -> Result<Vec<Import>> {
    let mut imports = Vec::new();
    let mut fault = None;
    ast.walk(&mut |nodes| {
        let Some(ASTNode::Stmt(Stmt::Import(import, position))) = nodes.last() else {
            return true;
        };
        let place = place(path, *position);
        match literal(&import.0) {
            Some(serde_json::Value::String(name)) => imports.push(Import {
                file: file(directory, &name),
                alias: import.1.name.to_string(),
                place,
            }),
            _ => fault = Some(place),
        }
        fault.is_none()
    });
    match fault {
        None => Ok(imports),
        Some(place) => {
            let mut error =
                Error::new(ErrorKind::Script, "the path of an import must be a literal")
                    .hint("write the path as a text: imported files are checked before the run");
            error.place = place;
            Err(error)
        }
    }
}

/// Returns the path of the file that an import in a directory names.
pub(super) fn file(directory: &Path, name: &str) -> String {
    let file = directory.join(name);
    // Without `./`, so that a file has one path.
    let file: PathBuf = file
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    match file.extension() {
        Some(extension) if extension == "rhai" => file,
        _ => format!("{}.rhai", file.display()).into(),
    }
    .display()
    .to_string()
}

pub(super) fn place(source: &str, position: Position) -> Place {
    Place {
        source: source.to_owned(),
        line: position.line().unwrap_or(0),
        column: position.position().unwrap_or(0),
    }
}

/// Resolves imports to the loaded files.
pub(super) struct Loaded {
    files: BTreeMap<String, SourceFile>,
    modules: Mutex<HashMap<String, Shared<Module>>>,
}

impl Loaded {
    pub(super) fn new(files: BTreeMap<String, SourceFile>) -> Self {
        Self {
            files,
            modules: Mutex::default(),
        }
    }
}

impl ModuleResolver for Loaded {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> std::result::Result<Shared<Module>, Box<EvalAltResult>> {
        let importer = source.and_then(|source| self.files.get(source));
        let directory = importer.map_or(Path::new(""), |importer| &importer.directory);
        let file = file(directory, path);
        let modules = || self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules().get(&file) {
            return Ok(module.clone());
        }
        let Some(loaded) = self.files.get(&file) else {
            return Err(EvalAltResult::ErrorModuleNotFound(path.to_owned(), position).into());
        };
        let module = Module::eval_ast_as_new(Scope::new(), &loaded.ast, engine)
            .map_err(|e| EvalAltResult::ErrorInModule(file.clone(), e, position))?;
        let module: Shared<Module> = module.into();
        modules().insert(file, module.clone());
        Ok(module)
    }
}
