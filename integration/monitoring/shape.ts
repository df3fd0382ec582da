// What a dashboard may be, from Grafana's own types: as JSON, where an enumeration is the text of
// one of its values, and with the options of the kinds of panels that there are in ours, which the
// type of all panels leaves open.
import type {
  DataQuery, Dashboard as AnyDashboard, FieldConfig, FieldConfigSource, Panel as AnyPanel, RowPanel,
} from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Json<T> =
  T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer Element> ? Array<Json<Element>>
  : T extends object ? { [Name in keyof T]: Json<T[Name]> }
  : T;

/** A query to Prometheus; its type is not in the package. */
interface Target extends DataQuery {
  editorMode: 'code';
  expr: string;
  format?: 'table' | 'time_series';
  instant?: boolean;
  legendFormat?: string;
  range: boolean;
}

type Panel<Type extends string, Options, Custom> = Omit<
  AnyPanel, 'fieldConfig' | 'options' | 'targets' | 'type'
> & {
  description: string;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Partial<Custom> };
  };
  options: Partial<Options>;
  targets: Target[];
  title: string;
  type: Type;
};

export type Dashboard = Json<
  Omit<AnyDashboard, 'panels'> & {
    panels: Array<
      | RowPanel
      | Panel<'stat', Stat.Options, Record<string, never>>
      | Panel<'table', Table.Options, Table.FieldConfig>
      | Panel<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
    >;
  }
>;
