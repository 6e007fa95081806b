//! The names that a template takes from outside.
//!
//! Follows jinja2's scopes: loops, macros, `with` and captured blocks have one of
//! their own, `if` has none. A name is bound from where it is assigned on; one that
//! is assigned in a branch counts as bound behind it.
//!
//! Source: jinja2 `meta.py` and `idtracking.py`.

use std::sync::Arc;

use super::ast::{Args, Expr, Macro, Stmt, StmtKind, Target};
use super::value::Function;

/// The free names of `body`, in the order of their first use.
pub(super) fn names(body: &[Stmt]) -> Vec<Arc<str>> {
    let mut search = Search {
        scopes: vec![Vec::new()],
        found: Vec::new(),
    };
    search.statements(body);
    search.found
}

/// Depths are bounded by the parser.
struct Search<'t> {
    /// The names that are bound, outermost scope first.
    scopes: Vec<Vec<&'t str>>,
    found: Vec<Arc<str>>,
}

impl<'t> Search<'t> {
    fn scoped(&mut self, search: impl FnOnce(&mut Self)) {
        self.scopes.push(Vec::new());
        search(self);
        self.scopes.pop();
    }

    fn bind(&mut self, name: &'t str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(name);
        }
    }

    fn target(&mut self, target: &'t Target) {
        match target {
            Target::Name(name) => self.bind(name),
            Target::Attr(namespace, _) => self.name(namespace),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.target(target)),
        }
    }

    fn name(&mut self, name: &'t Arc<str>) {
        let is_bound = self.scopes.iter().flatten().any(|bound| **bound == **name);
        if !is_bound && Function::named(name).is_none() && !self.found.contains(name) {
            self.found.push(Arc::clone(name));
        }
    }

    fn statements(&mut self, body: &'t [Stmt]) {
        for statement in body {
            self.statement(&statement.kind);
        }
    }

    fn statement(&mut self, statement: &'t StmtKind) {
        match statement {
            StmtKind::Data(_) | StmtKind::Break | StmtKind::Continue => {}
            StmtKind::Emit(value) => self.expr(value),
            StmtKind::For(definition) => {
                self.expr(&definition.iterable);
                self.scoped(|search| {
                    search.target(&definition.target);
                    search.all(definition.condition.as_ref());
                    search.bind("loop");
                    search.statements(&definition.body);
                });
                self.scoped(|search| search.statements(&definition.otherwise));
            }
            StmtKind::If(branches) => {
                for (condition, body) in branches {
                    self.all(condition.as_ref());
                    self.statements(body);
                }
            }
            StmtKind::Set(target, value) => {
                self.expr(value);
                self.target(target);
            }
            StmtKind::SetBlock(target, filters, body) => {
                self.scoped(|search| search.statements(body));
                self.all(filters.as_ref());
                self.target(target);
            }
            StmtKind::With(assignments, body) => {
                for (_, value) in assignments {
                    self.expr(value);
                }
                self.scoped(|search| {
                    for (target, _) in assignments {
                        search.target(target);
                    }
                    search.statements(body);
                });
            }
            StmtKind::Macro(definition) => {
                // Bound first: a macro may call itself.
                self.bind(&definition.name);
                self.definition(definition);
            }
            StmtKind::Call(caller, call) => {
                self.expr(call);
                self.definition(caller);
            }
            StmtKind::FilterBlock(filters, body) => {
                self.scoped(|search| search.statements(body));
                self.expr(filters);
            }
            StmtKind::Scope(body) => self.scoped(|search| search.statements(body)),
        }
    }

    fn definition(&mut self, definition: &'t Macro) {
        self.scoped(|search| {
            search.bind("caller");
            for (name, default) in &definition.params {
                search.all(default.as_ref());
                search.bind(name);
            }
            search.statements(&definition.body);
        });
    }

    fn all(&mut self, values: impl IntoIterator<Item = &'t Expr>) {
        for value in values {
            self.expr(value);
        }
    }

    fn expr(&mut self, expr: &'t Expr) {
        match expr {
            Expr::Const(_) => {}
            Expr::Name(name) => self.name(name),
            Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => self.all(items),
            Expr::Dict(entries) => {
                for (key, value) in entries {
                    self.all([key, value]);
                }
            }
            Expr::Unary(_, value) | Expr::Attr(value, _) => self.expr(value),
            Expr::Binary(_, parts) | Expr::And(parts) | Expr::Or(parts) | Expr::Item(parts) => {
                self.all([&parts.0, &parts.1]);
            }
            Expr::Compare(first, rest) => {
                self.expr(first);
                self.all(rest.iter().map(|(_, value)| value));
            }
            Expr::Conditional(conditional) => {
                self.all([&conditional.condition, &conditional.then]);
                self.all(conditional.otherwise.as_ref());
            }
            Expr::Slice(slice) => {
                self.expr(&slice.value);
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    self.all(bound.as_ref());
                }
            }
            Expr::Call(call) => {
                self.expr(&call.0);
                self.args(&call.1);
            }
            Expr::Filter(filter) => {
                self.all(filter.value.as_ref());
                self.args(&filter.args);
            }
            Expr::Test(test) => {
                self.expr(&test.value);
                self.args(&test.args);
            }
        }
    }

    fn args(&mut self, args: &'t Args) {
        self.all(&args.positional);
        self.all(args.named.iter().map(|(_, value)| value));
        self.all(args.star.as_ref());
        self.all(args.double_star.as_ref());
    }
}
