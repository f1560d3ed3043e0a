import ts from "typescript";

/** One file as the rules see it: its path from the root, with slashes, and its text. */
export interface TrackedFile {
  readonly path: string;
  readonly text: string;
}

/** A broken rule, written so that the reader can click on it. */
export type Violation = string;

export type Rule = (file: TrackedFile) => Violation[];

/** What each room may import beside itself. Composition happens in `cli` and the entry points. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  store: ["core"],
  agents: ["core"],
  workspace: ["core"],
  model: ["core"],
  client: ["core"],
  worker: ["core", "store", "agents", "workspace", "model"],
  server: ["core", "store"],
};

const ENTRY_POINT = /^src\/(index|client|testing|bin)\.ts$/;
const COMPOSITION = /^src\/(cli\/|(index|client|testing|bin)\.ts$)/;
const TEST_FILE = /\.(test|testsuite)\.ts$/;

/** Packages and modules with one home. */
const HOMES: readonly { module: RegExp; home: RegExp; says: string }[] = [
  { module: /^pg(\/|$)/, home: /^src\/store\//, says: "pg belongs to src/store" },
  {
    module: /^(hono|@hono\/[^/]+)(\/|$)/,
    home: /^src\/server\//,
    says: "hono belongs to src/server",
  },
  {
    module: /^(node:)?child_process$/,
    home: /^src\/(store\/embedded|workspace\/)/,
    says: "processes belong to src/store/embedded and src/workspace",
  },
];

/**
 * Who may read the clock, draw randomness or wait, as a prefix of the path. Everybody else is given
 * a `Clock`, ids or a signal, so that tests can move time. Add a file with its reason.
 */
export const TIME_AND_CHANCE: readonly { prefix: string; because: string }[] = [
  { prefix: "src/cli/", because: "composes: the real clock and ids are made here" },
  { prefix: "src/bin.ts", because: "composes" },
  { prefix: "src/testing.ts", because: "composes for tests" },
  { prefix: "src/store/embedded/", because: "starts, watches and ends a real Postgres" },
  {
    prefix: "src/client/web-clock.ts",
    because: "is the clock of browsers; callers may replace it",
  },
  { prefix: "src/workspace/", because: "names real folders and waits for real processes to die" },
];

const AMBIENT_CALLS = new Set(["Date.now", "Math.random", "crypto.randomUUID"]);
const AMBIENT_NAMES = new Set(["randomUUID", "setTimeout", "setInterval"]);

// -- rules about TypeScript sources --------------------------------------------------------------

export const checkImportDirection: Rule = ({ path, text }) => {
  if (!isProductSource(path)) return [];
  const from = roomOf(path);
  if (from === undefined) return [`${path}: unknown room; see the layout in CONTRIBUTING.md`];
  if (COMPOSITION.test(path)) return [];
  return listImports(path, text).flatMap(({ specifier, line, isErased }) => {
    const where = `${path}:${line}`;
    if (specifier.startsWith("."))
      return checkRoom(where, from, roomOf(resolvePath(path, specifier)));
    // A type of Node's leaves no trace in the output; our own rooms and pg or hono shape a design.
    return isErased && specifier.startsWith("node:") ? [] : checkHome(where, path, specifier);
  });
};

function checkRoom(where: string, from: string, to: string | undefined): Violation[] {
  if (to === undefined) return [`${where}: imports something outside the rooms of src`];
  if (to === from || MAY_IMPORT[from]?.includes(to)) return [];
  return [`${where}: ${from} must not import ${to}`];
}

function checkHome(where: string, path: string, specifier: string): Violation[] {
  const room = roomOf(path);
  if (room === "core" && specifier !== "zod") {
    return [
      `${where}: core does no I/O, runs in browsers too and needs zod alone, not ${specifier}`,
    ];
  }
  if (room === "client" && specifier.startsWith("node:")) {
    return [`${where}: the client runs in browsers; ${specifier} does not`];
  }
  const broken = HOMES.filter(({ module, home }) => module.test(specifier) && !home.test(path));
  return broken.map(({ says }) => `${where}: ${says}`);
}

export const checkConsole: Rule = ({ path, text }) => {
  if (!isProductSource(path) || /^src\/(cli\/|bin\.ts$)/.test(path)) return [];
  return findNodes(path, text, (node) => ts.isIdentifier(node) && node.text === "console").map(
    ({ line }) => `${path}:${line}: console belongs to src/cli; log through the Logger port`,
  );
};

export const checkTimeAndChance: Rule = ({ path, text }) => {
  if (!isProductSource(path)) return [];
  if (TIME_AND_CHANCE.some(({ prefix }) => path.startsWith(prefix))) return [];
  return findNodes(path, text, readsTimeOrChance).map(
    ({ line, node }) =>
      `${path}:${line}: ${node.getText().slice(0, 40)}: inject it, or list the file in TIME_AND_CHANCE`,
  );
};

function readsTimeOrChance(node: ts.Node): boolean {
  if (ts.isPropertyAccessExpression(node)) return AMBIENT_CALLS.has(node.getText());
  if (ts.isNewExpression(node)) {
    return node.expression.getText() === "Date" && (node.arguments?.length ?? 0) === 0;
  }
  if (ts.isImportSpecifier(node)) return AMBIENT_NAMES.has((node.propertyName ?? node.name).text);
  return (
    ts.isCallExpression(node) &&
    ts.isIdentifier(node.expression) &&
    AMBIENT_NAMES.has(node.expression.text)
  );
}

// -- rules about any text ------------------------------------------------------------------------

const COLUMNS_MAX = 120;

export const checkLineLength: Rule = ({ path, text }) => {
  if (!/\.(ts|sql)$/.test(path)) return [];
  return matchLines(
    path,
    text,
    (line) => [...line].length > COLUMNS_MAX,
    `over ${COLUMNS_MAX} columns`,
  );
};

export const checkUnfinished: Rule = ({ path, text }) => {
  if (!/\.(ts|mjs|js|sql)$/.test(path)) return [];
  const mark = /\b(TO[D]O|FIX[M]E|XX[X])\b/;
  return matchLines(path, text, (line) => mark.test(line), "unfinished: do it or drop it");
};

export const checkFileName: Rule = ({ path }) => {
  if (!/^(src|test|bench|examples)\/.*\.ts$/.test(path)) return [];
  const segments = path.replace(/(\.(test|testsuite|bench|d))?\.ts$/, "").split("/");
  return segments.flatMap((segment) => {
    if (/^(utils?|[h]elpers?|common|misc|shared)$/.test(segment))
      return [`${path}: name it after a noun`];
    return /^[a-z0-9]+(-[a-z0-9]+)*$/.test(segment) ? [] : [`${path}: names are kebab-case`];
  });
};

/**
 * Words that tell how the code came about instead of what it is. One letter of each stands in
 * brackets, so that this list does not find itself.
 */
const BANNED_WORDS: readonly RegExp[] = [
  /\bissues? #?\d+/i,
  /\b(github|linear|jira) [i]ssues?\b/i,
  /\b[t]ickets?\b/i,
  /\b[s]ittings?\b/i,
  /\b[p]hase (\d+|one|two|three|four)\b/i,
  /(?<![\w.`])[h]elpers?(?![\w`=.])/i,
  /\bthis work[p]lace\b/i,
  /\bmeasured [h]ere\b/i,
  /\boriginal[- ][r]equest\b/i,
  /\b[s]eed[- ]([0-9a-f]{8}|repo|repository|project|request|task|maintainers?)\b/i,
  /(?<![\w.~*})-])\/[w]ork(?![\w-])/,
  /\/tmp\/[b]rief/,
  /\bregistry\.[n]pmjs\b|\bnpm[m]irror\b|\bregistry\.[y]arnpkg\b|\b[a]rtifactory\b|\b[v]erdaccio\b/i,
];

/** Papers that are named in comments by habit; only those that exist here may be. */
const PAPERS = /\b(DESIGN|STYLE|STORAGE|RELIABILITY|UX|PROTOCOLS|ANCHORS|REAL-AGENTS|BRIEF)\.md\b/;

/** `knownPaths` are the files of the repository, so that a reference to a missing paper is found. */
export function checkWords(file: TrackedFile, knownPaths: ReadonlySet<string>): Violation[] {
  if (/^(package-lock\.json|LICENSE)$/.test(file.path)) return [];
  return file.text.split("\n").flatMap((line, index) => {
    const word = BANNED_WORDS.map((pattern) => pattern.exec(line)?.[0]).find(Boolean);
    const paper = PAPERS.exec(line)?.[0];
    const where = `${file.path}:${index + 1}`;
    if (word !== undefined) return [`${where}: "${word}" says where this was made, not what it is`];
    if (paper === undefined || [...knownPaths].some((path) => path.endsWith(paper))) return [];
    return [`${where}: there is no ${paper} here`];
  });
}

const DOCUMENT_LINES_MAX: Readonly<Record<string, number>> = {
  "README.md": 100,
  "CONTRIBUTING.md": 120,
};

export const checkDocumentLength: Rule = ({ path, text }) => {
  const linesMax = DOCUMENT_LINES_MAX[path];
  const lines = text.trimEnd().split("\n").length;
  return linesMax !== undefined && lines > linesMax
    ? [`${path}: ${lines} lines, at most ${linesMax}`]
    : [];
};

// -- the lock file -------------------------------------------------------------------------------

interface LockedPackage {
  readonly resolved?: string;
  readonly link?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/**
 * The lock file names no download address, so that any mirror serves it, and holds the optional
 * packages of every platform, without which `npm ci` refuses it on the others.
 */
export function checkLockFile(text: string): Violation[] {
  const packages = (JSON.parse(text) as { packages: Record<string, LockedPackage> }).packages;
  const entries = Object.entries(packages);
  return [
    ...entries
      .filter(([, { resolved, link }]) => resolved !== undefined && link !== true)
      .map(([name]) => `package-lock.json: ${name} has a download address`),
    ...text
      .split("\n")
      .filter((line) => /\.tgz\b|\/\/registry\./.test(line))
      .map((line) => `package-lock.json: address in ${line.trim()}`),
    ...entries.flatMap(([name, { optionalDependencies }]) =>
      Object.keys(optionalDependencies ?? {})
        .filter((wanted) => !isLocked(packages, name, wanted))
        .map((wanted) => `package-lock.json: ${wanted}, wanted by ${name || "stint"}, is missing`),
    ),
  ];
}

function isLocked(packages: Record<string, LockedPackage>, owner: string, wanted: string): boolean {
  const folders = owner.split("/node_modules/");
  const candidates = folders.map((_, index) => folders.slice(0, index + 1).join("/node_modules/"));
  return [...candidates.filter(Boolean).map((folder) => `${folder}/`), ""].some(
    (folder) => packages[`${folder}node_modules/${wanted}`] !== undefined,
  );
}

// -- reading sources -----------------------------------------------------------------------------

function isProductSource(path: string): boolean {
  return path.startsWith("src/") && path.endsWith(".ts") && !TEST_FILE.test(path);
}

/** The folder below src, `cli` and `entry` included; undefined when there is no such room. */
function roomOf(path: string): string | undefined {
  if (ENTRY_POINT.test(path)) return "entry";
  const room = /^src\/([^/]+)\//.exec(path)?.[1];
  return room === "cli" || (room !== undefined && room in MAY_IMPORT) ? room : undefined;
}

function resolvePath(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

interface Import {
  readonly specifier: string;
  readonly line: number;
  /** A type import: the compiler erases it. */
  readonly isErased: boolean;
}

function listImports(path: string, text: string): Import[] {
  return findNodes(path, text, (node) => specifierOf(node) !== undefined).map(({ node, line }) => ({
    specifier: specifierOf(node) ?? "",
    line,
    isErased:
      ts.isImportTypeNode(node) ||
      (ts.isImportDeclaration(node) && node.importClause?.isTypeOnly === true),
  }));
}

/** Static, re-exporting, dynamic and type imports, and `require` by any route. */
function specifierOf(node: ts.Node): string | undefined {
  let name: ts.Node | undefined;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) name = node.moduleSpecifier;
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
    name = node.argument.literal;
  else if (ts.isCallExpression(node) && isModuleCall(node)) name = node.arguments[0];
  return name !== undefined && ts.isStringLiteralLike(name) ? name.text : undefined;
}

function isModuleCall({ expression }: ts.CallExpression): boolean {
  return (
    expression.kind === ts.SyntaxKind.ImportKeyword ||
    (ts.isIdentifier(expression) && expression.text === "require")
  );
}

function findNodes(path: string, text: string, matches: (node: ts.Node) => boolean) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  const found: { node: ts.Node; line: number }[] = [];
  const visit = (node: ts.Node): void => {
    if (matches(node)) {
      found.push({ node, line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function matchLines(
  path: string,
  text: string,
  matches: (line: string) => boolean,
  says: string,
): Violation[] {
  return text
    .split("\n")
    .flatMap((line, index) => (matches(line) ? [`${path}:${index + 1}: ${says}`] : []));
}
