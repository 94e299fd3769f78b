"""What people do with runs and photographs: suites, predictions, exports, checks. No printing, no Prefect."""
