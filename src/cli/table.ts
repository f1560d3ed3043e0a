import { textWidth } from "./text-width.ts";

/** One cell: its text, safe and of one line, and how it is styled. */
export interface Cell {
  readonly text: string;
  readonly style?: ((text: string) => string) | undefined;
}

/** One column. */
export interface Column {
  readonly title: string;
  /** @default "left" */
  readonly align?: "left" | "right";
}

/** Lays out rows under a heading in aligned columns; two spaces between them. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  styleHeading: (text: string) => string,
): string[] {
  const widths = columns.map((column, index) =>
    Math.max(textWidth(column.title), ...rows.map((row) => textWidth(row[index]?.text ?? ""))),
  );
  const formatRow = (cells: readonly Cell[]): string =>
    cells
      .map((cell, index) => {
        const padding = " ".repeat((widths[index] ?? 0) - textWidth(cell.text));
        const text = cell.style ? cell.style(cell.text) : cell.text;
        if (columns[index]?.align === "right") return padding + text;
        return index === cells.length - 1 ? text : text + padding;
      })
      .join("  ")
      .trimEnd();
  const heading = columns.map(({ title }) => ({ text: title, style: styleHeading }));
  return [formatRow(heading), ...rows.map(formatRow)];
}
