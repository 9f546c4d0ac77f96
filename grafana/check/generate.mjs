// Writes each dashboard as a TypeScript value whose type is made of those that Grafana publishes, for `tsc` to check:
// the dashboard itself, and of each panel the options, field settings and queries that belong to its kind. Literals of
// objects may have no property that their type does not know, so a misspelt one is found as well as a wrong one.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';

const KINDS = {
  timeseries: ['TimeSeries', 'Options', 'FieldConfig'],
  stat: ['Stat', 'Options', null],
  table: ['Table', 'Options', 'FieldConfig'],
  heatmap: ['Heatmap', 'Options', 'FieldConfig'],
  bargauge: ['BarGauge', 'Options', null],
  'state-timeline': ['StateTimeline', 'Options', 'FieldConfig'],
};

let out = `// Written by generate.mjs.
import type { Dashboard, DataQuery, Panel, RowPanel } from '@grafana/schema';
`;
for (const [kind, [name]] of Object.entries(KINDS)) {
  const path = `@grafana/schema/dist/esm/raw/composable/${kind.replace('-', '')}/panelcfg/x/${name}PanelCfg_types.gen`;
  out += `import type * as ${name} from '${path}';\n`;
}
out += `
// The values of an enumeration stand in JSON as themselves. What has a default may be left out.
type Plain<T> = T extends string ? \`\${T}\` : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T)
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Defaults<T> = Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom' | 'thresholds'> & {
  custom?: T;
  thresholds?: { mode: 'absolute' | 'percentage'; steps: { color: string; value: number | null }[] };
};
type Field<T> = { defaults: Plain<Defaults<Partial<T>>>; overrides: Plain<NonNullable<Panel['fieldConfig']>['overrides']> };
// The package has no type for queries of Prometheus; this is what its data source reads.
type Query = Plain<Omit<DataQuery, 'datasource'>> & {
  datasource: { type: 'prometheus'; uid: string };
  editorMode: 'code' | 'builder'; expr: string; legendFormat: string; range: boolean; instant: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
};
type Of<Kind, O, F> = Plain<Omit<Panel, 'options' | 'fieldConfig' | 'targets' | 'type'>> & {
  type: Kind; options: Plain<Partial<O>>; fieldConfig: Field<F>; targets: Query[];
};
type Row = Plain<RowPanel>;
type Whole = Plain<Omit<Dashboard, 'panels' | 'id' | 'templating' | 'annotations'>> & { id: null; panels: unknown[] } & {
  templating: { list: Plain<NonNullable<NonNullable<Dashboard['templating']>['list']>[number] & { definition?: string; sort?: number; skipUrlSync?: boolean }>[] };
  annotations: { list: Plain<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number] & { expr?: string; titleFormat?: string }>[] };
};
`;
let panels = 0;
for (const file of readdirSync('../dashboards').sort()) {
  const dashboard = JSON.parse(readFileSync(`../dashboards/${file}`, 'utf8'));
  const name = file.replace('.json', '');
  for (const panel of dashboard.panels) {
    let type = 'Row';
    if (panel.type !== 'row') {
      const [module, options, field] = KINDS[panel.type];
      type = `Of<'${panel.type}', ${module}.${options}, ${field ? `${module}.${field}` : '{}'}>`;
    }
    out += `// ${name}: ${panel.title}\nexport const ${name}${panel.id}: ${type} = ${JSON.stringify(panel)};\n`;
    panels += 1;
  }
  dashboard.panels = [];
  out += `export const ${name}: Whole = ${JSON.stringify(dashboard)};\n`;
}
mkdirSync('out', { recursive: true });
writeFileSync('out/dashboards.ts', out);
console.log(`${panels} panels`);
