// What the page has beside its modules: uPlot's script, whose types are its own business.
declare const uPlot: any;
