package verify

func paperEqual(gold, pred string) result { return result{different, "paper"} }
